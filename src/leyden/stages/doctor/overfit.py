"""Whether the model can overfit one batch."""

import copy
import math
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from leyden.stages.doctor.finding import Finding
from leyden.stages.doctor.trial import TrialRunner, get_loss

NUM_STEPS = 100
# Fractions of the first loss, below which the batch is learned, and above which nothing is. (Label smoothing keeps the
# loss above 0.)
LEARNED, STUCK = 0.5, 0.9


class StopWhenLearned(Callback):
    """Ends the trial when the loss has fallen far enough."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self.losses.append(float(get_loss(outputs)))
        trainer.should_stop = self.losses[-1] < LEARNED * self.losses[0]


class FirstBatchStep:
    """A training step that always uses the first batch."""

    def __init__(self) -> None:
        self._batch: Any = None

    def __call__(self, own_step: Callable[[Any, int], Any], batch: Any, batch_idx: int) -> Any:
        if self._batch is None:
            self._batch = copy.deepcopy(batch)
        return own_step(copy.deepcopy(self._batch), 0)  # a step may change its batch


def check_overfit(runner: TrialRunner) -> Finding:
    """Train on one batch with the configured optimizer."""
    stop = StopWhenLearned()
    if error := runner.run(NUM_STEPS, [stop], step=FirstBatchStep()):
        return Finding("skip", f"the steps failed: {error}", "fix that first")
    first, best = stop.losses[0], min(stop.losses)
    observation = f"loss {first:.3g}, at best {best:.3g} in {len(stop.losses)} steps"
    if not math.isfinite(first) or not best < STUCK * first:
        return Finding(
            "fail",
            f"does not learn: {observation}",
            "a model must be able to overfit one batch: look for a detach(), frozen layers, labels in a different "
            "order or too small a learning rate",
        )
    if best >= LEARNED * first:
        advice = "try a different learning rate or less regularisation (dropout, mixup, label_smoothing)"
        return Finding("warn", f"learns slowly: {observation}", advice)
    return Finding("ok", observation)
