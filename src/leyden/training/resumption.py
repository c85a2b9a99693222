"""Checkpoints from which an interrupted training resumes bit for bit."""

import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils._pytree import tree_leaves

from leyden.data.loader import Loader, next_batch_index
from leyden.data.replica import rank_and_world_size
from leyden.errors import DISK_FULL, UserError
from leyden.ranges import check_range
from leyden.training.random_numbers import (
    EPOCH,
    LOADING,
    STEP,
    VALIDATION,
    get_states,
    seed_generators,
    seed_loaders,
    set_states,
)
from leyden.training.run_folder import Run
from leyden.trust.archives import is_intact


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
        self._is_epoch_over = False
        self._missed_interval: Literal["epoch", "step"] | None = None  # after resuming
        self._is_stateful = self._resumes_within_epoch = False  # of the loaders, known when the training starts
        self._num_starts = 0  # of loaders in this epoch
        self._states = get_states()
        self._previous_handlers: dict[int, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"ended": self._has_ended, "epoch_over": self._is_epoch_over}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._has_ended = state_dict["ended"]
        self._missed_interval = "epoch" if state_dict["epoch_over"] else "step"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the order of a user's loaders, and the random numbers of their workers, depend on the epoch alone."""
        train = (partial(self._seed_loading, trainer), partial(next_batch_index, trainer))
        val = (partial(self._seed_validation, trainer), int)
        for owner in (pl_module, trainer.datamodule):  # type: ignore[attr-defined]
            for name, seeding in (("train_dataloader", train), ("val_dataloader", val)):
                if owner and is_overridden(name, owner):
                    setattr(owner, name, seed_loaders(getattr(owner, name), *seeding))

    def _seed_loading(self, trainer: Trainer, batch_idx: int, generators: Sequence[torch.Generator] = ()) -> None:
        """Seed what a loader draws when it starts, or after it has resumed within an epoch."""
        number = batch_idx
        if batch_idx == 0:  # several loaders, or one that starts again within the epoch, must not draw the same
            number, self._num_starts = self._num_starts, self._num_starts + 1
        stream = LOADING if batch_idx else EPOCH
        seed_generators([self.seed, trainer.current_epoch, number], stream, generators)

    def _seed_validation(self, trainer: Trainer, batch_idx: int, generators: Sequence[torch.Generator] = ()) -> None:
        seed_generators([self.seed, trainer.global_step], VALIDATION, generators)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._states = get_states()
        self._seed_validation(trainer, 0)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        set_states(self._states)  # a validation within an epoch does not change the training

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._num_starts = 0
        seed_generators([self.seed, trainer.current_epoch], EPOCH)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = self._has_ended

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._missed_interval == "epoch" and trainer.fit_loop.restarting:
            leave_epoch(trainer)
        if self._missed_interval:
            step_plateau_schedulers(trainer, self._missed_interval)
        loaders = tree_leaves(trainer.train_dataloader)
        self._is_stateful = any(not isinstance(loader, Loader) and tells_position(loader) for loader in loaders)
        self._resumes_within_epoch = all(map(tells_position, loaders))
        if not trainer.global_step and (limit := describe_limit(loaders)):
            rank_zero_info(f"fit: note: {limit}")
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
        seed_generators([self.seed, trainer.current_epoch, batch_idx, rank], STEP)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_stateful:
            self._seed_loading(trainer, batch_idx + 1)
        has_stepped = trainer.global_step != self._last_step
        self._last_step = trainer.global_step
        val_interval = int(min(trainer.val_check_batch or sys.maxsize, sys.maxsize))
        is_last = batch_idx + 1 == trainer.num_training_batches
        # Between two steps, accumulated gradients would be lost; before a validation, Lightning would skip it on
        # resumption.
        if not has_stepped or is_last or (batch_idx + 1) % val_interval == 0:
            return
        should_stop = self._any_process(trainer, self.stop_signal is not None)
        if self._resumes_within_epoch and (should_stop or self._is_due(trainer)):
            self.save(trainer)
        if should_stop:
            self._exit()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step, self._has_ended = trainer.global_step, trainer.should_stop
        trainer.fit_loop._restarting = False  # else ReduceLROnPlateau misses a step if the epoch was resumed half-way
        self._is_epoch_over = True
        self.save(trainer)
        self._is_epoch_over = False
        should_stop = self._any_process(trainer, self.stop_signal is not None)
        if should_stop and trainer.current_epoch + 1 != trainer.max_epochs:
            self._exit()

    def _exit(self) -> None:
        # Lightning would exit with 0, which means a finished training to DVC.
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


def tells_position(loader: Any) -> bool:
    """Return whether a loader can resume in the middle of an epoch: Leyden's, or one whose state Lightning saves."""
    return isinstance(loader, Loader) or (hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict"))


def describe_limit(loaders: Sequence[Any]) -> str:
    """Describe what an interruption within an epoch costs; an empty string if nothing."""
    if not all(map(tells_position, loaders)):
        return "the training's loader has no state_dict: an interrupted epoch starts again from its first batch"
    if any(not isinstance(loader, Loader) and getattr(loader, "num_workers", 0) for loader in loaders):
        return "what the loader's workers draw, such as augmentation, is not restored within an interrupted epoch"
    return ""


def leave_epoch(trainer: Trainer) -> None:
    """Go on with the next epoch: with `max_steps`, Lightning would run the end of the last one a second time."""
    _Loop.restarting.fset(trainer.fit_loop, False)  # type: ignore[attr-defined]  # its own setter leaves it true
    trainer.fit_loop.reset_restart_stage()
    trainer.fit_loop.epoch_progress.increment_completed()


def step_plateau_schedulers(trainer: Trainer, interval: Literal["epoch", "step"]) -> None:
    """Step each ReduceLROnPlateau as Lightning does after a checkpoint is saved; on resumption it skips that step."""
    if not trainer.lightning_module.automatic_optimization:
        return
    count = trainer.current_epoch if interval == "epoch" else next_batch_index(trainer)
    for config in trainer.lr_scheduler_configs:
        score = trainer.callback_metrics.get(config.monitor or "")
        is_due = config.reduce_on_plateau and config.interval == interval and count % config.frequency == 0
        if is_due and score is not None:
            trainer.lightning_module.lr_scheduler_step(config.scheduler, score)


def newest_checkpoint(run: Run) -> Path | None:
    """Return the newest undamaged checkpoint of a run, if any; report the damaged ones."""
    for path in (run.last, run.previous):
        if path.exists():
            if is_intact(path):
                return path
            rank_zero_info(f"fit: {path} is damaged; skipped")
    return None
