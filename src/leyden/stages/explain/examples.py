"""Test examples worth a look, drawn with their maps."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from leyden.models.build import Model
from leyden.stages.explain.draw import draw_image, draw_map
from leyden.stages.explain.methods import UNSIGNED
from leyden.stages.explain.tables import write_table


def choose(probabilities: Tensor, labels: Tensor, count: int) -> tuple[list[int], list[str]]:
    """Choose test rows worth a look, each once: errors (surest first), then unsure ones, then the surest right one of each class."""
    confidence, prediction = probabilities.max(1)
    wrong = prediction != labels
    by_confidence = confidence.argsort(descending=True).tolist()
    errors = [row for row in by_confidence if wrong[row]]
    unsure = [row for row in reversed(by_confidence) if not wrong[row]]
    sure = [
        next((row for row in by_confidence if not wrong[row] and labels[row] == label), None)
        for label in labels.unique()
    ]
    reasons: dict[int, str] = {}
    for rows, reason, limit in ((errors, "wrong", count // 3), (unsure, "unsure", count // 3), (sure, "right", count)):
        for row in [row for row in rows if row is not None][:limit]:
            reasons.setdefault(row, reason)
    chosen = list(reasons)[:count]
    return chosen, [reasons[row] for row in chosen]


def describe(
    module: Model, probabilities: Tensor, paths: list[str], labels: np.ndarray, reasons: list[str]
) -> list[dict[str, Any]]:
    confidence, prediction = probabilities.max(1)
    return [
        {
            "path": path,
            "label": module.labels[label],
            "prediction": module.labels[predicted],
            "confidence": round(sure, 4),
            "chosen": reason,
        }
        for path, label, predicted, sure, reason in zip(
            paths, labels, prediction.tolist(), confidence.tolist(), reasons, strict=True
        )
    ]


def write_examples(folder: Path, rows: list[dict[str, Any]], images: np.ndarray, maps: dict[str, np.ndarray]) -> None:
    """Draw each example and its maps under maps/, and list them in examples.csv."""
    for number, (row, image) in enumerate(zip(rows, images, strict=True)):
        draw_image(folder / f"maps/{number:02d}.png", image)
        for name, values in maps.items():
            draw_map(folder / f"maps/{number:02d}-{name}.png", image, values[number], signed=name not in UNSIGNED)
        row["file"] = f"maps/{number:02d}.png"
    write_table(folder / "examples.csv", rows, list(rows[0]))
