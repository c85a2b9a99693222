"""Which test examples are worth a look."""

from typing import Any

import numpy as np
from torch import Tensor

from leyden.models.build import Model


def choose(probabilities: Tensor, labels: Tensor, count: int) -> tuple[list[int], list[str]]:
    """Choose test rows worth a look, each once: errors (surest first), then unsure ones, then the surest right one of each class."""
    confidence, prediction = probabilities.max(1)
    wrong = prediction != labels
    by_confidence = confidence.argsort(descending=True).tolist()
    errors = [row for row in by_confidence if wrong[row]]
    unsure = [row for row in reversed(by_confidence) if not wrong[row]]
    sure = [next((row for row in by_confidence if not wrong[row] and labels[row] == label), None) for label in labels.unique()]
    reasons: dict[int, str] = {}
    for rows, reason, limit in ((errors, "wrong", count // 3), (unsure, "unsure", count // 3), (sure, "right", count)):
        for row in [row for row in rows if row is not None][:limit]:
            reasons.setdefault(row, reason)
    chosen = list(reasons)[:count]
    return chosen, [reasons[row] for row in chosen]


def describe(module: Model, probabilities: Tensor, paths: list[str], labels: np.ndarray, reasons: list[str]) -> list[dict[str, Any]]:
    confidence, prediction = probabilities.max(1)
    return [
        {"path": path, "label": module.labels[label], "prediction": module.labels[predicted], "confidence": round(sure, 4), "chosen": reason}
        for path, label, predicted, sure, reason in zip(paths, labels, prediction.tolist(), confidence.tolist(), reasons, strict=True)
    ]
