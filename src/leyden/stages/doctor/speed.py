"""Whether the input pipeline is fast enough for the model."""

import statistics
import time
from typing import Any

import torch
from lightning.pytorch import Callback

from leyden.stages.doctor.finding import Finding
from leyden.stages.doctor.trial import TrialRunner

NUM_WARM_UP_STEPS, NUM_STEPS = 3, 10
MAX_WAIT_FRACTION = 0.25  # of the total time, above which the check warns


class StepTimer(Callback):
    """Measures the time of each step, and the time between two steps: the input pipeline's, with augmentation."""

    def __init__(self) -> None:
        self.wait_times: list[float] = []  # in seconds
        self.step_times: list[float] = []
        self._last_time = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self.wait_times.append(self._elapsed())

    def on_train_batch_end(self, *_: Any) -> None:
        self.step_times.append(self._elapsed())

    def _elapsed(self) -> float:
        """Return the seconds since the last call."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        last_time, self._last_time = self._last_time, time.perf_counter()
        return self._last_time - last_time


def check_speed(runner: TrialRunner) -> Finding:
    timer = StepTimer()
    if error := runner.run(NUM_WARM_UP_STEPS + NUM_STEPS, [timer]):
        return Finding("skip", f"the steps failed: {error}", "fix that first")
    wait_ms = 1e3 * statistics.median(timer.wait_times[NUM_WARM_UP_STEPS:])
    step_ms = 1e3 * statistics.median(timer.step_times[NUM_WARM_UP_STEPS:])
    observation = f"{wait_ms:.3g} ms to load a batch, {step_ms:.3g} ms to train on it"
    if wait_ms > step_ms:
        advice = "increase data.num_workers, do less work per example, or set storage: pixels in configs/prepare.yaml"
        return Finding("warn", f"slower than the model: {observation}", advice)
    if wait_ms > MAX_WAIT_FRACTION * (wait_ms + step_ms):
        return Finding("warn", observation, "increase data.num_workers, or do less work per example")
    return Finding("ok", observation)
