"""Tables of a split's predictions: scores of each class, and accuracy by confidence."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from leyden.stages.evaluate.metrics import NUM_BINS, bins_of
from leyden.statistics.wilson import wilson_interval

Row = dict[str, Any]


def class_table(confusion: np.ndarray, labels: list[str], confidence_level: float) -> list[Row]:
    """Precision, recall, F1 and counts of each class; a figure without any example to stand on is blank."""
    rows = []
    for index, label in enumerate(labels):
        right, actual, predicted = (
            int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
        )
        ratios = {"precision": (right, predicted), "recall": (right, actual), "f1": (2 * right, actual + predicted)}
        row: Row = {"label": label, "count": actual} | {
            name: top / bottom if bottom else "" for name, (top, bottom) in ratios.items()
        }
        row["recall_low"], row["recall_high"] = wilson_interval(right, actual, confidence_level) if actual else ("", "")
        rows.append(row | {"predicted": predicted, "right": right})
    return rows


def reliability(confidence: Tensor, is_right: Tensor) -> list[Row]:
    """Bin predictions by confidence: mean confidence and accuracy of each bin that holds any."""
    bins = bins_of(confidence).clamp(max=NUM_BINS - 1)
    rows = []
    for number in bins.unique().tolist():
        inside = bins == number
        rows.append(
            {
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(is_right[inside].float().mean()),
                "count": int(inside.sum()),
            }
        )
    return rows


def write_rows(path: Path, rows: Sequence[Row], columns: Sequence[str] = ()) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
