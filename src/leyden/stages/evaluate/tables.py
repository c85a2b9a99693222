"""Tables of a split's predictions: the confusion matrix, metrics of each class, and accuracy by confidence."""

from typing import Any

import numpy as np
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from leyden.stages.evaluate.metrics import NUM_BINS, bin_indices
from leyden.stages.evaluate.predictions import Predictions
from leyden.statistics.wilson import wilson_interval

PER_CLASS_COLUMNS = (
    *("label", "count", "precision", "recall", "f1", "recall_low", "recall_high"),
    *("predicted", "right"),
)
CALIBRATION_COLUMNS = ("confidence", "accuracy", "count")

Row = dict[str, Any]


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """Count pairs of actual (rows) and predicted class: (K, K)."""
    num_classes = len(predictions.class_names)
    return multiclass_confusion_matrix(predictions.predicted, predictions.labels, num_classes).numpy()


def per_class_table(confusion: np.ndarray, class_names: list[str], confidence_level: float) -> list[Row]:
    """Compute precision, recall, F1 and counts of each class; undefined metrics are blank."""
    rows = []
    for index, name in enumerate(class_names):
        correct = int(confusion[index, index])
        actual, predicted = int(confusion[index].sum()), int(confusion[:, index].sum())
        low, high = wilson_interval(correct, actual, confidence_level) if actual else ("", "")
        rows.append(
            {
                "label": name,
                "count": actual,
                "precision": correct / predicted if predicted else "",
                "recall": correct / actual if actual else "",
                "f1": 2 * correct / (actual + predicted) if actual + predicted else "",
                "recall_low": low,
                "recall_high": high,
                "predicted": predicted,
                "right": correct,
            }
        )
    return rows


def calibration_table(confidence: Tensor, is_correct: Tensor) -> list[Row]:
    """Compute mean confidence and accuracy of the predictions in each bin of confidence that is not empty."""
    bins = bin_indices(confidence).clamp(max=NUM_BINS - 1)
    return [
        {
            "confidence": float(confidence[bins == index].mean()),
            "accuracy": float(is_correct[bins == index].float().mean()),
            "count": int((bins == index).sum()),
        }
        for index in bins.unique().tolist()
    ]
