"""Tables of a split's predictions: by class, by confidence, mistakes, confusions."""

import numpy as np
from torch import Tensor

from leyden.stages.evaluate.calibration import NUM_BINS, bin_indices
from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.results import Row
from leyden.statistics.wilson import wilson_interval

PER_CLASS_COLUMNS = ("label", "count", "precision", "recall", "f1", "recall_low", "recall_high", "predicted", "right")
CALIBRATION_COLUMNS = ("confidence", "accuracy", "count")
MISTAKE_COLUMNS = ("path", "label", "prediction", "confidence", "label_probability")
CONFUSION_COLUMNS = ("label", "prediction", "count", "share_of_label")


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


def list_mistakes(predictions: Predictions) -> list[Row]:
    """List all incorrect predictions, the most confident first."""
    names, confidence, predicted = predictions.class_names, predictions.confidence, predictions.predicted
    label_probability = predictions.label_probability
    return [
        {
            "path": predictions.paths[index],
            "label": names[predictions.labels[index]],
            "prediction": names[predicted[index]],
            "confidence": f"{confidence[index]:.6f}",
            "label_probability": f"{label_probability[index]:.6f}",
        }
        for index in confidence.argsort(descending=True, stable=True).tolist()
        if predicted[index] != predictions.labels[index]
    ]


def list_confusions(confusion: np.ndarray, class_names: list[str]) -> list[Row]:
    """List the pairs of classes of which one was predicted as the other, the most frequent first."""
    off_diagonal = confusion - np.diag(np.diag(confusion))
    pairs = sorted(zip(*np.nonzero(off_diagonal), strict=True), key=lambda pair: -off_diagonal[pair])
    return [
        {
            "label": class_names[actual],
            "prediction": class_names[predicted],
            "count": int(confusion[actual, predicted]),
            "share_of_label": confusion[actual, predicted] / confusion[actual].sum(),
        }
        for actual, predicted in pairs
    ]
