"""Logits of ordinal classification: each example has one of several grades, which have an order."""

import numpy as np

from leyden.outputs.classification import ClassificationReader
from leyden.statistics.measures import AnyMeasure
from leyden.statistics.ordinal import ordinal_measures


class OrdinalReader(ClassificationReader):
    """Reads logits (N, K); targets are the indices of grades in their order, int64 (N,)."""

    name = "ordinal"
    noun = "grades"
    target_noun = "grade"
    verb = "grades"
    participle = "graded"
    has_order = True
    headline = "quadratic_kappa"
    chance = 0.0
    error_noun = "distance in grades"

    def errors(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return by how many grades a prediction is wrong."""
        return np.abs(self.decide(outputs) - targets).astype(np.float64)

    def measures(self, outputs: np.ndarray, targets: np.ndarray) -> list[AnyMeasure]:
        return [*ordinal_measures(self.decide(outputs), targets, len(self.labels))]


READER = OrdinalReader
