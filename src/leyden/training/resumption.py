"""Checkpoints from which an interrupted training resumes bit for bit."""

import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from leyden.data.loader import Loader
from leyden.data.replica import rank_and_world_size
from leyden.errors import DISK_FULL, UserError
from leyden.files import replaced_file
from leyden.models.checkpoint import write_checkpoint
from leyden.ranges import check_range
from leyden.training.run_folder import Run
from leyden.trust.archives import is_intact
from leyden.trust.description import is_plain

# Exit codes of a stopped training. Lightning would exit with 0, which means a finished training to DVC.
SIGNAL_EXIT_CODES = (128 + signal.SIGINT, 128 + signal.SIGTERM)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target and renames it, so that a checkpoint is complete or absent.

    Lightning writes to the system's temporary folder, and a move from another disk can be interrupted half-way.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with replaced_file(path) as partial:
            write_checkpoint(with_plain_hyperparameters(checkpoint), partial)
            check_loadable(partial)


def with_plain_hyperparameters(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Leave out the saved hyper-parameters that are objects: a file with them could not be loaded as data alone."""
    changed = {}
    for name in ("hyper_parameters", "datamodule_hyper_parameters"):
        if name in checkpoint:
            changed[name] = {key: to_builtin(value) for key, value in checkpoint[name].items() if is_plain(value)}
    types = ("hparams_type", "datamodule_hparams_type")  # classes of OmegaConf
    return {key: value for key, value in (checkpoint | changed).items() if key not in types}


def to_builtin(value: Any) -> Any:
    """Return nested plain values without subclasses of dict and list, such as Lightning's AttributeDict."""
    if isinstance(value, dict):
        return {key: to_builtin(each) for key, each in value.items()}
    return [to_builtin(each) for each in value] if isinstance(value, list | tuple) else value


def check_loadable(path: Path) -> None:
    """Raise UserError if a checkpoint holds objects, so that nothing could resume from it or load it.

    Only a module's or callback's own `on_save_checkpoint` or `state_dict` can add them.
    """
    if classes := sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)):
        raise UserError(
            f"expected plain values and tensors in a checkpoint; got {', '.join(classes[:3])}, by on_save_checkpoint "
            "or state_dict of the module, the data or a callback; convert them there"
        )


class Resume(Checkpoint):
    """Saves last.ckpt at intervals and on SIGTERM, and seeds every random number by (seed, epoch, step, rank).

    As a `Checkpoint` it is called after every other callback, so that the file holds their current states.
    """

    def __init__(self, every_steps: int | None = None, every_seconds: float | None = 300.0) -> None:
        """Choose how much work a kill may cost; the end of an epoch is always saved.

        Args:
            every_steps: Optimizer steps between two checkpoints; null saves none by steps.
            every_seconds: Seconds between two checkpoints; null saves none by time.
        """
        if every_steps is not None:
            check_range("resume", "[1, inf)", every_steps=every_steps)
        if every_seconds is not None:
            check_range("resume", "(0, inf)", every_seconds=every_seconds)
        self._every_steps, self._every_seconds = every_steps, every_seconds
        self.run: Run | None = None  # set by LeydenCLI
        self.seed = 0
        self.stop_signal: int | None = None
        self._has_ended = False  # early, by EarlyStopping for example, which Lightning's checkpoints do not store
        self._saved_at = time.monotonic()
        self._last_step = 0
        self._previous_handlers: dict[int, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"ended": self._has_ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._has_ended = state_dict["ended"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = self._has_ended

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at, self._last_step = time.monotonic(), trainer.global_step
        # Lightning's own handler broadcasts from within the signal: one rank's SIGTERM deadlocks the others.
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous_handlers[number] = signal.signal(number, self._request_stop)
        first_step = trainer.strategy.broadcast(trainer.global_step)
        if first_step != trainer.global_step:
            raise UserError(
                f"expected all processes to resume from step {first_step}; this one resumes from step "
                f"{trainer.global_step}; run the same command again"
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers.clear()

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        """Stop after the current step; a second Ctrl-C stops at once."""
        self.stop_signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed dropout and other random operations, so that no generator state needs to be saved."""
        rank, _ = rank_and_world_size(trainer)
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, batch_idx, rank])
        torch_seed, numpy_seed, python_seed = sequence.generate_state(3)
        seed_torch(int(torch_seed))
        np.random.seed(numpy_seed)
        random.seed(int(python_seed))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        has_stepped = trainer.global_step != self._last_step
        self._last_step = trainer.global_step
        val_interval = int(min(trainer.val_check_batch or sys.maxsize, sys.maxsize))
        is_last = batch_idx + 1 == trainer.num_training_batches
        # Between two steps, accumulated gradients would be lost; before a validation, Lightning would skip it on
        # resumption.
        if not has_stepped or is_last or (batch_idx + 1) % val_interval == 0:
            return
        should_stop = self._any_process(trainer, self.stop_signal is not None)
        # Only Leyden's loader can resume in the middle of an epoch.
        if isinstance(trainer.train_dataloader, Loader) and (should_stop or self._is_due(trainer)):
            self.save(trainer)
        if should_stop:
            self._exit()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step, self._has_ended = trainer.global_step, trainer.should_stop
        self.save(trainer)
        should_stop = self._any_process(trainer, self.stop_signal is not None)
        if should_stop and trainer.current_epoch + 1 != trainer.max_epochs:
            self._exit()

    def _exit(self) -> None:
        raise SystemExit(128 + (self.stop_signal or signal.SIGTERM))

    def _is_due(self, trainer: Trainer) -> bool:
        if self._every_steps and trainer.global_step % self._every_steps == 0:
            return True
        if not self._every_seconds:
            return False
        return self._any_process(trainer, time.monotonic() - self._saved_at > self._every_seconds)

    def _any_process(self, trainer: Trainer, condition: bool) -> bool:
        return condition if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(condition, all=False)

    def save(self, trainer: Trainer) -> None:
        """Write last.ckpt; the earlier one becomes previous.ckpt. A full disk leaves both unchanged."""
        assert self.run is not None
        new = self.run.folder / "next.ckpt"
        try:
            trainer.save_checkpoint(new, weights_only=False)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            rank_zero_info(
                f"fit: could not save step {trainer.global_step} ({error.strerror}); "
                "the last checkpoint is kept; free some disk space"
            )
            return
        if trainer.is_global_zero:
            if self.run.last.exists():
                self.run.last.replace(self.run.previous)
            new.replace(self.run.last)
        self._saved_at = time.monotonic()


def seed_torch(seed: int) -> None:
    """Seed torch as torch.manual_seed does, but faster.

    torch.manual_seed formats a stack trace for each unused kind of device, which takes a third of a small step.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # is_available queries the driver each time
        torch.cuda.manual_seed_all(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def newest_checkpoint(run: Run) -> Path | None:
    """Return the newest undamaged checkpoint of a run, if any; report the damaged ones."""
    for path in (run.last, run.previous):
        if path.exists():
            if is_intact(path):
                return path
            rank_zero_info(f"fit: {path} is damaged; skips it")
    return None
