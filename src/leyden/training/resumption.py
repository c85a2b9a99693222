"""What an interrupted training goes on from, bit for bit."""

import os
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
from leyden.training.run_folder import Run
from leyden.trust.archives import is_intact

STOPPED = (
    128 + signal.SIGINT,
    128 + signal.SIGTERM,
)  # exit codes; Lightning would leave with 0, which DVC takes for a finished training


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames: a checkpoint is whole or not there. (Lightning's own writes to the system's temporary folder,
    and a move from another disk can be cut in half.)"""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with replaced_file(path) as partial, open(partial, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


class Resume(Checkpoint):
    """Saves last.ckpt now and then and when asked to stop, and makes every random number a function of (seed, epoch, step, rank).

    Of a `Checkpoint`'s rank, so that it is called after every other callback: what they know is in the file.
    """

    def __init__(self, every_steps: int | None = None, every_seconds: float | None = 300.0) -> None:
        """Choose how much work a kill may cost; at the end of an epoch it is saved in any case.

        Args:
            every_steps: Optimizer steps between two checkpoints; null is none by steps.
            every_seconds: Seconds between two checkpoints; null is none by time.
        """
        self._every_steps, self._every_seconds = every_steps, every_seconds
        self.run: Run | None = None  # set by the command line
        self.seed = 0
        self.stopped_by: int | None = None
        self._ended = False  # by EarlyStopping, say, which Lightning forgets
        self._saved_at = time.monotonic()
        self._last_step = 0
        self._handlers: dict[int, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"ended": self._ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._ended = state_dict["ended"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = self._ended

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at, self._last_step = time.monotonic(), trainer.global_step
        # In the place of Lightning's own handler, which broadcasts from within the signal: one rank's SIGTERM deadlocks the others.
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, self._ask_to_stop)
        if trainer.strategy.broadcast(trainer.global_step) != trainer.global_step:
            raise UserError(
                f"expected all processes to go on from one step; this one has step {trainer.global_step}; run the same command again"
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """End after the step in progress; a second Ctrl-C ends at once."""
        self.stopped_by = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed dropout and its like, so that no generator's state needs to be kept."""
        words = np.random.SeedSequence(
            [self.seed, trainer.current_epoch, batch_idx, rank_and_world_size(trainer)[0]]
        ).generate_state(3)
        seed_torch(int(words[0]))
        np.random.seed(words[1])
        random.seed(int(words[2]))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = trainer.global_step != self._last_step  # between two steps, accumulated gradients would be lost
        self._last_step = trainer.global_step
        validates = (
            batch_idx + 1 == trainer.num_training_batches
            or (batch_idx + 1) % int(min(trainer.val_check_batch or sys.maxsize, sys.maxsize)) == 0
        )
        if not stepped or validates:  # Lightning takes what was saved before a validation for what was saved after it
            return
        stops = self._agree(trainer, self.stopped_by is not None)
        # Another loader than ours cannot begin in the middle of an epoch.
        if isinstance(trainer.train_dataloader, Loader) and (stops or self._is_due(trainer)):
            self.save(trainer)
        if stops:
            self._stop()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step, self._ended = trainer.global_step, trainer.should_stop
        self.save(trainer)
        if self._agree(trainer, self.stopped_by is not None) and trainer.current_epoch + 1 != trainer.max_epochs:
            self._stop()

    def _stop(self) -> None:
        raise SystemExit(128 + (self.stopped_by or signal.SIGTERM))

    def _is_due(self, trainer: Trainer) -> bool:
        if self._every_steps and trainer.global_step % self._every_steps == 0:
            return True
        return bool(self._every_seconds) and self._agree(
            trainer, time.monotonic() - self._saved_at > (self._every_seconds or 0)
        )

    def _agree(self, trainer: Trainer, wanted: bool) -> bool:
        """Tell whether any process wants it."""
        return wanted if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(wanted, all=False)

    def save(self, trainer: Trainer) -> None:
        """Write last.ckpt; the one before becomes previous.ckpt. A full disk leaves both as they are."""
        assert self.run is not None
        new = self.run.folder / "next.ckpt"
        try:
            trainer.save_checkpoint(new, weights_only=False)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            rank_zero_info(
                f"fit: could not save step {trainer.global_step} ({error.strerror}); the last good checkpoint stays; free some room"
            )
            return
        if trainer.is_global_zero:
            if self.run.last.exists():
                self.run.last.replace(self.run.previous)
            new.replace(self.run.last)
        self._saved_at = time.monotonic()


def seed_torch(seed: int) -> None:
    """Do as torch.manual_seed, which formats a stack trace for each kind of device that is not in use: a third of a small step."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # is_available asks the driver each time
        torch.cuda.manual_seed_all(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def newest_checkpoint(run: Run) -> Path | None:
    """Give the newest whole checkpoint of a run; of a damaged one it is said that it is passed over."""
    for path in (run.last, run.previous):
        if path.exists():
            if is_intact(path):
                return path
            rank_zero_info(f"fit: {path} is damaged; takes the one before it")
    return None
