"""The progress of a training: a bar on a terminal, lines in a log."""

import math
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor
from torch.utils._pytree import tree_leaves

from leyden.data.replica import rank_and_world_size
from leyden.memory import process_peak_memory_mb


class Throughput:
    """Counts the examples and steps since the clock was restarted: at the start of an epoch, or on resumption."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.restart()

    def restart(self) -> None:
        self._num_examples, self.num_steps, self._started = 0, 0, self._now()

    def count(self, batch: Any, world_size: int) -> None:
        """Count a batch, given the number of processes that each have one of the same size."""
        sizes = [len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim]
        self._num_examples += (sizes[-1] if sizes else 0) * world_size  # the last are the labels
        self.num_steps += 1

    @property
    def seconds(self) -> float:
        return self._now() - self._started

    @property
    def examples_per_second(self) -> float:
        return self._num_examples / self.seconds

    def time_left(self, trainer: Trainer) -> str | None:
        """Return the duration of the training's remaining steps, without validation; None if their number is unknown.

        A training ends after `max_epochs` or `max_steps`, whichever comes first.
        """
        num_batches, num_done = trainer.num_training_batches, trainer.fit_loop.epoch_loop.total_batch_idx + 1
        left = math.inf
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            left = num_batches * trainer.max_epochs - num_done
        if trainer.max_steps >= 0 and trainer.global_step:  # steps of optimizers: a batch has any number of them
            left = min(left, (trainer.max_steps - trainer.global_step) * num_done / trainer.global_step)
        if left == math.inf:
            return None
        return str(timedelta(seconds=round(max(0, left) * self.seconds / self.num_steps)))


class ThroughputProgressBar(TQDMProgressBar):
    """A progress bar with examples per second, the time left in the training, and the peak memory.

    It is drawn every tenth step: drawing takes about as long as a tiny network's step.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate)
        self._throughput = Throughput()

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        self._throughput.restart()
        super().on_train_epoch_start(trainer, *args)

    def on_train_start(self, *args: Any) -> None:
        self._throughput.restart()  # a training that resumes within an epoch does not call on_train_epoch_start
        super().on_train_start(*args)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._throughput.count(batch, rank_and_world_size(trainer)[1])
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
        if self._throughput.num_steps and trainer.training:
            metrics["examples/s"] = f"{self._throughput.examples_per_second:.0f}"
            if left := self._throughput.time_left(trainer):
                metrics["left"] = left
            metrics["memory"] = f"{peak_memory_mb():.0f} MB"
        return metrics


class ProgressLines(Callback):
    """Prints a line to stderr now and then within long epochs: for a log, in which a bar cannot be drawn."""

    def __init__(self, interval_s: float = 30.0, now: Callable[[], float] = time.perf_counter) -> None:
        """Set how often a line is printed.

        Args:
            interval_s: Seconds between two lines; a shorter epoch has none.
            now: Returns the time in seconds.
        """
        self._interval_s, self._throughput = interval_s, Throughput(now)
        self._num_lines = 0  # in this epoch, if one was printed at the end of every interval

    def on_train_start(self, *_: Any) -> None:
        self._restart()

    def on_train_epoch_start(self, *_: Any) -> None:
        self._restart()

    def _restart(self) -> None:
        self._throughput.restart()
        self._num_lines = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._throughput.count(batch, rank_and_world_size(trainer)[1])
        if not trainer.is_global_zero or self._throughput.seconds < (self._num_lines + 1) * self._interval_s:
            return
        self._num_lines = int(self._throughput.seconds / self._interval_s)
        num_batches = trainer.num_training_batches
        parts = [
            f"epoch {trainer.current_epoch + 1:>3}/{trainer.max_epochs}",
            f"{(batch_idx + 1) / num_batches:.0%}" if num_batches < math.inf else f"step {batch_idx + 1:,}",
            f"{self._throughput.examples_per_second:,.0f} examples/s",
        ]
        if left := self._throughput.time_left(trainer):
            parts.append(f"{left} left")
        print("  ".join(parts), file=sys.stderr, flush=True)


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MB: of the GPU where there is one."""
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else process_peak_memory_mb()
