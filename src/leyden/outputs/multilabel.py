"""Logits of multi-label classification: each example has any number of the labels, or none."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from leyden.outputs.reader import OutputReader, Row
from leyden.statistics.measures import AnyMeasure
from leyden.statistics.multilabel import multilabel_measures, per_label_measures

if TYPE_CHECKING:
    from torch import Tensor
LEAST_PROBABILITY = 1e-7  # in tables, which hold six digits


class MultilabelReader(OutputReader):
    """Reads logits (N, K); targets are 0 or 1, uint8 (N, K)."""

    name = "multilabel"
    noun = "labels"
    verb = "labels"
    has_label_set = True
    allows_rotation = True
    headline = "mean_average_precision"
    error_noun = "wrong labels"

    def __init__(
        self,
        labels: Sequence[str],
        temperature: float = 1.0,
        temperatures: Sequence[float] | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        """Store the facts of the task, which `leyden.tasks.multilabel` describes; without them, 1 and 0.5.

        Raises:
            ValueError: if there is not one positive temperature, and one threshold in (0, 1), for each label.
        """
        super().__init__(labels, temperature)
        count = len(self.labels)
        self.temperatures = np.array(temperatures or [1.0] * count, np.float64)
        self.thresholds = np.array(thresholds or [0.5] * count, np.float64)
        for values, limit in ((self.temperatures, math.inf), (self.thresholds, 1.0)):
            if values.shape != (count,) or not ((values > 0) & (values < limit)).all():
                raise ValueError(f"temperatures or thresholds that do not fit {count} label(s)")

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, float64 (N, K)."""
        return 0.5 + 0.5 * np.tanh(0.5 * outputs / self.temperatures)  # exp would overflow

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        return (self.probabilities(outputs) >= self.thresholds).astype(np.uint8)

    def errors(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the number of labels that are predicted and absent, or present and not predicted."""
        return (self.decide(outputs) != targets).sum(axis=1).astype(np.float64)

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        return (self.decide(outputs) == self.decide(others)).all(axis=1).astype(np.float64)

    def measures(self, outputs: np.ndarray, targets: np.ndarray) -> list[AnyMeasure]:
        predicted = self.decide(outputs)
        of_each = per_label_measures(outputs, predicted, targets, self.labels)
        return multilabel_measures(outputs, predicted, targets) + of_each

    def columns(self, limit: int) -> list[str]:
        return ["labels", *(f"probability_{label}" for label in self.labels)]

    def rows(self, outputs: np.ndarray, limit: int) -> list[Row]:
        columns = self.columns(limit)
        cells = zip(self._join(self.decide(outputs)), self.probabilities(outputs), strict=True)
        return [dict(zip(columns, (names, *(f"{p:.6f}" for p in row)), strict=True)) for names, row in cells]

    def to_json(self, row: Row) -> dict[str, Any]:
        labels = {"labels": [label for label in row["labels"].split(";") if label]}
        return {column: float(cell) for column, cell in row.items() if column not in labels} | labels

    def target_rows(self, targets: np.ndarray) -> list[Row]:
        return [{"true_labels": names} for names in self._join(targets)]

    def parse_rows(self, rows: Sequence[Row]) -> np.ndarray:
        columns = self.columns(0)[1:]
        if missing := [column for column in columns if column not in (rows[0] if rows else {})]:
            raise ValueError(f"there is no column {missing[0]}")
        probabilities = np.array([[float(row[column]) for column in columns] for row in rows])
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise ValueError("a cell is not a probability")
        probabilities = probabilities.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        return self.temperatures * np.log(probabilities / (1 - probabilities))

    def parse_targets(self, rows: Sequence[Row]) -> np.ndarray:
        present = [row["true_labels"].split(";") for row in rows]
        return np.array([[label in names for label in self.labels] for names in present], np.uint8)

    def explained_labels(self, outputs: np.ndarray) -> list[list[int]]:
        """Return the predicted labels, the most probable first; without any, the most probable label."""
        order = np.argsort(-self.probabilities(outputs), axis=1, kind="stable")
        is_predicted = np.take_along_axis(self.decide(outputs), order, axis=1) == 1
        return [row[predicted].tolist() or row[:1].tolist() for row, predicted in zip(order, is_predicted, strict=True)]

    def response(self, outputs: "Tensor", reference: "Tensor") -> "Tensor":
        return outputs.sigmoid()

    def _join(self, targets: np.ndarray) -> list[str]:
        return [";".join(self.labels[index] for index in np.flatnonzero(row)) for row in targets]


READER = MultilabelReader
