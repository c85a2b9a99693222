"""Scores of a classifier on the validation and test splits."""

from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy


def make_scores(num_classes: int, prefix: str) -> MetricCollection:
    """Return the metrics that are logged as `prefix` + loss, accuracy and balanced_accuracy."""
    accuracy = MulticlassAccuracy(num_classes, average="micro")
    balanced = MulticlassAccuracy(num_classes, average="macro")
    return MetricCollection(
        {"loss": MeanMetric(), "accuracy": accuracy, "balanced_accuracy": balanced}, compute_groups=False, prefix=prefix
    )
