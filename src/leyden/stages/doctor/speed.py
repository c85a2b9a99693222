"""Whether the input pipeline is fast enough for the model."""

import statistics
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from leyden.stages.doctor.finding import Finding
from leyden.stages.doctor.trial import TrialRunner

NUM_WARM_UP_STEPS, NUM_STEPS = 3, 10
MAX_WAIT_FRACTION = 0.25  # of the total time, above which a warning is given


class StepTimer(Callback):
    """Measures the time of each step, and the time between two steps: the input pipeline's, with augmentation."""

    def __init__(self) -> None:
        self.wait_times: list[float] = []  # in seconds
        self.step_times: list[float] = []
        self._last_time = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.wait_times.append(self._elapsed())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.step_times.append(self._elapsed())

    def _elapsed(self) -> float:
        """Return the seconds since the last call."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        last_time, self._last_time = self._last_time, time.perf_counter()
        return self._last_time - last_time


def check_speed(runner: TrialRunner) -> Finding:
    """Check how long a step waits for its batch."""
    check, timer = "input pipeline", StepTimer()
    if error := runner.run(NUM_WARM_UP_STEPS + NUM_STEPS, [timer]):
        return Finding(check, "skip", f"the steps failed: {error}", "fix that first")
    wait_ms, step_ms = (
        1e3 * statistics.median(times[NUM_WARM_UP_STEPS:]) for times in (timer.wait_times, timer.step_times)
    )
    observation = f"{wait_ms:.3g} ms to load a batch, {step_ms:.3g} ms to train on it"
    if wait_ms > step_ms:
        advice = "increase data.num_workers, do less work per example, or set storage: pixels in configs/prepare.yaml"
        return Finding(check, "warn", f"slower than the model: {observation}", advice)
    if wait_ms > MAX_WAIT_FRACTION * (wait_ms + step_ms):
        return Finding(check, "warn", observation, "increase data.num_workers, or do less work per example")
    return Finding(check, "ok", observation)
