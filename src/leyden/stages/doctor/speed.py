"""Whether the input pipeline keeps up with the model."""

import statistics
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from leyden.stages.doctor.bench import Bench
from leyden.stages.doctor.finding import Finding

WARM_UP, STEPS = 3, 10
WAIT_FRACTION = 0.25  # of the time, from which waiting is worth a word


class StepTimer(Callback):
    """Measures what passes between two steps, which is the input pipeline's (augmentation included), and within them."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.computes: list[float] = []
        self._mark = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.waits.append(self._lap())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.computes.append(self._lap())

    def _lap(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        last, self._mark = self._mark, time.perf_counter()
        return self._mark - last


def check_speed(bench: Bench) -> Finding:
    check, waiting = "input pipeline", StepTimer()
    if error := bench.run(WARM_UP + STEPS, [waiting]):
        return Finding(check, "skip", f"the steps died: {error}", "mend that first")
    wait_ms, compute_ms = (1e3 * statistics.median(times[WARM_UP:]) for times in (waiting.waits, waiting.computes))
    seen = f"{wait_ms:.3g} ms for a batch to come, {compute_ms:.3g} ms to train on it"
    if wait_ms > compute_ms:
        return Finding(
            check,
            "warn",
            f"slower than the model: {seen}",
            "more data.num_workers, less work per example, or storage: pixels in prepare",
        )
    if wait_ms > WAIT_FRACTION * (wait_ms + compute_ms):
        return Finding(check, "warn", seen, "more data.num_workers, or less work per example")
    return Finding(check, "ok", seen)
