"""Test examples worth a look, drawn with their maps."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from leyden.artifacts import EXAMPLES
from leyden.files.tables import write_table
from leyden.models.build import Model
from leyden.stages.explain.batch import Batch
from leyden.stages.explain.explainer import Explainer


def choose_examples(probabilities: Tensor, labels: Tensor, count: int) -> tuple[list[int], list[str]]:
    """Choose test examples worth a look, each once.

    These are errors, most confident first; then uncertain predictions, least confident first; then the most confident
    correct prediction of each class. The first two groups take at most a third each.

    Returns:
        Rows of the test split, at most `count`, and for each why it was chosen: wrong, unsure or right.
    """
    confidence, prediction = probabilities.max(1)
    wrong = prediction != labels
    by_confidence = confidence.argsort(descending=True).tolist()
    errors = [row for row in by_confidence if wrong[row]]
    unsure = [row for row in reversed(by_confidence) if not wrong[row]]
    confident = [row for _, row in sorted({int(labels[row]): row for row in unsure}.items())]
    reasons: dict[int, str] = {}
    third = count // 3
    for rows, reason, limit in ((errors, "wrong", third), (unsure, "unsure", third), (confident, "right", count)):
        for row in rows[:limit]:
            reasons.setdefault(row, reason)
    chosen = list(reasons)[:count]
    return chosen, [reasons[row] for row in chosen]


def describe_examples(
    module: Model, probabilities: Tensor, paths: list[str], labels: np.ndarray, reasons: list[str]
) -> list[dict[str, Any]]:
    """Return the rows of examples.csv, one per example."""
    confidence, prediction = probabilities.max(1)
    return [
        {
            "path": path,
            "label": module.labels[label],
            "prediction": module.labels[predicted],
            "confidence": round(score, 4),
            "chosen": reason,
            "file": f"maps/{number:02d}.png",
        }
        for number, (path, label, predicted, score, reason) in enumerate(
            zip(paths, labels, prediction.tolist(), confidence.tolist(), reasons, strict=True)
        )
    ]


def write_examples(
    folder: Path, rows: list[dict[str, Any]], explainer: Explainer, batch: Batch, maps: dict[str, np.ndarray]
) -> None:
    """Draw each example and its maps under maps/, and list the examples in examples.csv."""
    for number, row in enumerate(rows):
        file = folder / row["file"]
        explainer.draw(file, batch, number)
        for method, values in maps.items():
            explainer.draw(file.with_stem(f"{file.stem}-{method}"), batch, number, values[number], method)
    write_table(folder / EXAMPLES, rows, list(rows[0]))
