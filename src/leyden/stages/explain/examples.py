"""Test examples worth a look, drawn with their maps."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from leyden.artifacts import EXAMPLES
from leyden.files.tables import write_table
from leyden.models.build import Model
from leyden.outputs.number_format import four_digits, percent
from leyden.outputs.reader import OutputReader, Row
from leyden.stages.explain.batch import Batch
from leyden.stages.explain.explainer import Explainer
from leyden.stages.explain.predictions import Predictions, predict_outputs

LARGE_ERROR, SMALL_ERROR = "large error", "small error"  # why an example was chosen


def choose_examples(predictions: Predictions, targets: np.ndarray, count: int) -> tuple[list[int], list[str]]:
    """Choose test examples worth a look, each once.

    Returns:
        Rows of the test split, at most `count`, and for each why it was chosen.
    """
    if predictions.confidence is None:
        reasons = choose_by_error(predictions.errors, count)
    else:
        reasons = choose_by_confidence(predictions.confidence, predictions.errors > 0, targets, count)
    return list(reasons), list(reasons.values())


def choose_by_confidence(confidence: Tensor, wrong: np.ndarray, labels: np.ndarray, count: int) -> dict[int, str]:
    """Choose errors, most confident first; then uncertain predictions; then each class's most confident correct one.

    The first two groups take at most a third each.

    Returns:
        For each row, why it was chosen: wrong, unsure or right.
    """
    by_confidence = confidence.argsort(descending=True).tolist()
    errors = [row for row in by_confidence if wrong[row]]
    unsure = [row for row in reversed(by_confidence) if not wrong[row]]
    confident = [row for _, row in sorted({int(labels[row]): row for row in unsure}.items())]
    reasons: dict[int, str] = {}
    third = count // 3
    for rows, reason, limit in ((errors, "wrong", third), (unsure, "unsure", third), (confident, "right", count)):
        for row in rows[:limit]:
            reasons.setdefault(row, reason)
    return dict(list(reasons.items())[:count])


def choose_by_error(errors: np.ndarray, count: int) -> dict[int, str]:
    """Choose the largest errors (N,), half of the examples or fewer if others are right; then the smallest.

    Unknown errors, NaN, are left out.

    Returns:
        For each row, why it was chosen.
    """
    order = [row for row in np.argsort(errors, kind="stable").tolist() if not np.isnan(errors[row])]
    largest = [row for row in reversed(order) if errors[row] > 0][: (count + 1) // 2]
    smallest = [row for row in order if row not in largest][: count - len(largest)]
    return dict.fromkeys(largest, LARGE_ERROR) | dict.fromkeys(smallest, SMALL_ERROR)


def choose_labels(
    labels: list[list[int]], shown_rows: list[int], evidence_rows: list[int], limit: int, noun: str
) -> tuple[list[tuple[int, int]], list[int]]:
    """Choose which labels are explained, and print if the limit leaves some out.

    Args:
        labels: Of each row of the test split, the most important first.
        shown_rows: Rows whose maps are drawn.
        evidence_rows: Rows that methods are measured on.
        limit: Labels of one example, at most.
        noun: What labels are called.

    Returns:
        The rows and labels of the maps to draw, by row; and one label of each row of the evidence: its first, second
        and so on in turn, so that all are measured without more examples.
    """
    if cut := sum(len(labels[row]) > limit for row in shown_rows):
        most = max(len(labels[row]) for row in shown_rows)
        print(
            f"explain: some {noun} left out: {cut} of {len(shown_rows)} examples have up to {most}, and num_labels is "
            f"{limit}"
        )
    explained = [(row, label) for row in shown_rows for label in labels[row][:limit]]
    in_turn = [labels[row][number % min(limit, len(labels[row]))] for number, row in enumerate(evidence_rows)]
    return explained, in_turn


def describe_examples(
    module: Model,
    reader: OutputReader,
    predictions: Predictions,
    batch: Batch,
    targets: np.ndarray,
    rows: list[int],
) -> list[dict[str, Any]]:
    """Describe what the model predicts for the rows of a split that are in a batch; `targets` are those of the rows.

    Returns:
        For each row of the batch its label (the target), prediction and confidence; without classes also its error, and
        which of the labels is explained. Numbers are in units.
    """
    true_cells = reader.target_rows(targets)
    if predictions.confidence is not None:
        labels, confidence = batch.targets.tolist(), predictions.confidence[rows].tolist()
        return [
            {"label": describe_cells(reader, cells), "prediction": module.labels[label], "confidence": round(score, 4)}
            for cells, label, score in zip(true_cells, labels, confidence, strict=True)
        ]
    cells = reader.rows(predict_outputs(module, batch.inputs).numpy(), limit=1)
    return [
        {
            "label": describe_cells(reader, true),
            "prediction": describe_cells(reader, {name: predicted[name.removeprefix("true_")] for name in true}),
            "confidence": "",
            "error": float(f"{predictions.errors[row]:.6g}"),
            "explained": module.labels[label],
        }
        for row, label, true, predicted in zip(rows, batch.targets.tolist(), true_cells, cells, strict=True)
    ]


def describe_cells(reader: OutputReader, cells: Row) -> str:
    """Return the cells of a target, or of a prediction, as a text: shares of a mask, or numbers with their units."""
    if reader.is_dense:
        return ", ".join(f"{percent(cell)} {label}" for label, cell in zip(reader.labels, cells.values(), strict=True))
    if reader.predicts_numbers:
        numbers = [
            (label, f"{four_digits(cell)} {reader.unit(f'mae/{label}')}".rstrip())
            for label, cell in zip(reader.labels, cells.values(), strict=True)
        ]
        return ", ".join(f"{label} {number}" for label, number in numbers) if len(numbers) > 1 else numbers[0][1]
    return next(iter(cells.values()))


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
