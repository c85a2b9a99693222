"""Classification: each example belongs to one class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from leyden.errors import UserError
from leyden.tasks.targets import LossOptions, TargetFile, TargetSource, TargetSummary
from leyden.tasks.task import NETWORKS, Task

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torchmetrics import Metric, MetricCollection

DEFAULT_SMOOTHING = 0.1


class Classification(Task):
    """Predicts the class of an example: logits (B, K), cross-entropy. Targets are class indices, int64 (N,)."""

    name = "classification"
    noun = "classes"
    columns = ("label",)
    networks = NETWORKS
    has_class_folders = True
    has_one_label = True
    can_mix = True

    @classmethod
    def from_texts(cls, texts: Sequence[str], source: TargetSource) -> "Classification":
        labels = sorted(set(texts))
        if len(labels) < 2:
            raise UserError(
                f"expected examples of two {cls.noun} or more in {source.data}; got only {labels[0]!r}; label them "
                "differently"
            )
        return cls(labels)

    def inspect(self, text: str, file: TargetFile) -> TargetSummary:
        return TargetSummary([text], text)

    def strata(self, texts: Sequence[str]) -> list[str]:
        return list(texts)

    def encode(self, text: str, file: TargetFile) -> np.ndarray:
        return np.array(self.labels.index(text))

    @property
    def dtype(self) -> str:
        return "int64"

    def target_shape(self, stored_size: tuple[int, int]) -> tuple[int, ...]:
        return ()

    def rows_with(self, targets: np.ndarray, index: int) -> np.ndarray:
        return np.flatnonzero(targets == index)

    def make_loss(self, options: LossOptions) -> "nn.Module":
        from leyden.tasks.cross_entropy import CrossEntropy, weigh_classes

        smoothing = DEFAULT_SMOOTHING if options.label_smoothing is None else options.label_smoothing
        return CrossEntropy(weigh_classes(options.class_weights, self.labels, options.class_counts), smoothing)

    def make_scores(self, prefix: str) -> "MetricCollection":
        from torch.nn import functional as F
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy

        from leyden.tasks.mean_score import MeanScore

        count = len(self.labels)
        return MetricCollection(
            {
                "loss": MeanScore(F.cross_entropy),
                "accuracy": MulticlassAccuracy(count, average="micro"),
                "balanced_accuracy": MulticlassAccuracy(count, average="macro"),
            },
            compute_groups=False,
            prefix=prefix,
        )

    def make_calibration(self) -> "Metric":
        from leyden.tasks.temperature import Temperature

        return Temperature(len(self.labels))

    def describe_calibration(self, values: "Tensor") -> dict[str, Any]:
        return {"temperature": float(values)}

    def sampling_weights(self, targets: np.ndarray) -> np.ndarray:
        return 1.0 / np.bincount(targets)[targets]

    def soft_targets(self, targets: "Tensor") -> "Tensor":
        from torch.nn import functional as F

        return F.one_hot(targets, len(self.labels)).float()


TASK = Classification
