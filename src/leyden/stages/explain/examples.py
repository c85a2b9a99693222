"""Which test examples are shown, and the tables that list them."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leyden.models.build import Model
from leyden.models.image_model import ImageModel

Row = dict[str, Any]


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


def describe(names: list[str], probabilities: Tensor, paths: list[str], labels: np.ndarray, reasons: list[str]) -> list[Row]:
    """Give a row for examples.csv of each example, in order: the file of number 3 is maps/03.png."""
    confidence, prediction = probabilities.max(1)
    columns = paths, labels, prediction.tolist(), confidence.tolist(), reasons
    return [
        {
            "path": path,
            "label": names[label],
            "prediction": names[predicted],
            "confidence": round(sure, 4),
            "chosen": reason,
            "file": f"maps/{number:02d}.png",
        }
        for number, (path, label, predicted, sure, reason) in enumerate(zip(*columns, strict=True))
    ]


def inputs_of(module: Model, batch: Any) -> tuple[Tensor, ...]:
    """Give what a model's network takes of images uint8 (N, H, W, C), or of padded sequences."""
    with torch.no_grad():
        if isinstance(module, ImageModel):
            return (module.preprocess(torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2)).contiguous(),)
        values, lengths = map(torch.from_numpy, batch)
        return module.preprocess(values, lengths), lengths


def write_table(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write rows as CSV; no rows leave the header."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
