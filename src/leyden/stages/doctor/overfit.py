"""Whether the model can learn one batch by heart."""

import copy
import math
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from leyden.stages.doctor.bench import Bench, loss_of
from leyden.stages.doctor.finding import Finding

STEPS = 100
LEARNED, STUCK = 0.5, 0.9  # shares of the first loss; label smoothing keeps it from 0


class StopWhenLearned(Callback):
    """Ends the run when the loss has fallen far enough."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(loss_of(outputs)))
        trainer.should_stop = self.losses[-1] < LEARNED * self.losses[0]


class SameBatch:
    """Gives each step the first step's batch."""

    def __init__(self) -> None:
        self._batch: Any = None

    def __call__(self, own: Callable[[Any, int], Any], batch: Any, batch_idx: int) -> Any:
        if self._batch is None:
            self._batch = copy.deepcopy(batch)
        return own(copy.deepcopy(self._batch), 0)  # a step may change its batch


def check_overfit(bench: Bench) -> Finding:
    """Train on one batch with the config's optimizer."""
    check, enough = "learns one batch", StopWhenLearned()
    if error := bench.run(STEPS, [enough], step=SameBatch()):
        return Finding(check, "skip", f"the steps died: {error}", "mend that first")
    first, best = enough.losses[0], min(enough.losses)
    seen = f"loss {first:.3g}, {best:.3g} at best in {len(enough.losses)} steps"
    advice = "the same batch again and again must be learnt: look for a detach(), frozen layers, labels in another order, a learning rate too small"
    if not math.isfinite(first) or not best < STUCK * first:
        return Finding(check, "fail", f"does not learn: {seen}", advice)
    if best >= LEARNED * first:
        return Finding(
            check,
            "warn",
            f"learns slowly: {seen}",
            "another learning rate or less regularisation (dropout, mixup, label_smoothing)",
        )
    return Finding(check, "ok", seen)
