"""A metric that is the mean of a function over the examples."""

from collections.abc import Callable

from torch import Tensor
from torchmetrics import MeanMetric


class MeanScore(MeanMetric):
    """The mean over all examples of a score that is computed by batch; exact for batches of any size."""

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Choose the score: it maps outputs and targets to their mean, ()."""
        super().__init__()
        self._score = score

    def update(self, outputs: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        super().update(self._score(outputs, targets), len(targets))
