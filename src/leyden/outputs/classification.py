"""Logits of classification: each example belongs to one class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from leyden.artifacts import SCORE_PREFIX
from leyden.outputs.reader import OutputReader, Row
from leyden.statistics.measures import AnyMeasure, fraction_measure


class ClassificationReader(OutputReader):
    """Reads logits (N, K); targets are class indices, int64 (N,)."""

    name = "classification"
    noun = "classes"
    verb = "classifies"
    participle = "classified"
    has_one_label = True
    allows_rotation = True
    headline = "accuracy"
    error_noun = "wrong class"

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, (N, K)."""
        scaled = outputs / self.temperature
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.argmax(axis=1)

    def errors(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return (self.decide(outputs) != targets).astype(np.float64)

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        return (self.decide(outputs) == self.decide(others)).astype(np.float64)

    def measures(self, outputs: np.ndarray, targets: np.ndarray) -> list[AnyMeasure]:
        return [fraction_measure("accuracy", self.decide(outputs) == targets)]

    def columns(self, limit: int) -> list[str]:
        suffixes = ("", *(f"_{rank}" for rank in range(2, min(limit, len(self.labels)) + 1)))
        return [f"{name}{suffix}" for suffix in suffixes for name in ("prediction", "confidence")]

    def rows(self, outputs: np.ndarray, limit: int) -> list[Row]:
        probabilities, columns = self.probabilities(outputs), self.columns(limit)
        ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, : len(columns) // 2]
        return [
            dict(zip(columns, (cell for i in best for cell in (self.labels[i], f"{row[i]:.6f}")), strict=True))
            for row, best in zip(probabilities, ranked.tolist(), strict=True)
        ]

    def to_json(self, row: Row) -> dict[str, Any]:
        return {column: cell if column.startswith("prediction") else float(cell) for column, cell in row.items()}

    def target_rows(self, targets: np.ndarray) -> list[Row]:
        return [{"label": self.labels[target]} for target in targets]

    def parse_targets(self, rows: Sequence[Row]) -> np.ndarray:
        return np.array([self.labels.index(row["label"]) for row in rows])

    def parse_rows(self, rows: Sequence[Row]) -> np.ndarray:
        """Return logarithms of probabilities: -inf where a cell is blank, as those of unlikely classes are."""
        columns = [f"{SCORE_PREFIX}{label}" for label in self.labels]
        if missing := [column for column in columns if column not in (rows[0] if rows else {})]:
            raise ValueError(f"there is no column {missing[0]}")
        probabilities = np.array([[float(row[column] or 0) for column in columns] for row in rows])
        if not ((probabilities >= 0) & np.isfinite(probabilities)).all() or not probabilities.any(axis=1).all():
            raise ValueError("a row does not hold probabilities")
        with np.errstate(divide="ignore"):
            return self.temperature * np.log(probabilities)

    def explained_labels(self, outputs: np.ndarray) -> list[list[int]]:
        return [[label] for label in self.decide(outputs).tolist()]


READER = ClassificationReader
