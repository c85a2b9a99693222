"""Numbers that a regression model predicts, in the units of its targets."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from leyden.outputs.reader import OutputReader, Row
from leyden.statistics.conformal import coverage_measure
from leyden.statistics.measures import AnyMeasure
from leyden.statistics.regression import regression_measures
from leyden.trust.description import is_list_of

if TYPE_CHECKING:
    from torch import Tensor

IN_UNITS = ("mae", "rmse", "median_absolute_error")  # measures in the unit of a target
AGREEMENT = 0.05  # of a target's standard deviation: predictions that differ less are the same


class RegressionReader(OutputReader):
    """Reads predicted numbers (N, K); targets are numbers in the same units, float32 (N, K)."""

    name = "regression"
    noun = "targets"
    target_noun = "target"
    verb = "measures"
    output_name = "targets"
    predicts_numbers = True
    coverage = 0.9  # as `leyden.tasks.regression` calibrates the intervals
    evidence = ("higher", "lower")

    def __init__(
        self,
        labels: Sequence[str],
        temperature: float = 1.0,
        units: Sequence[str] = (),
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        radius: Sequence[float] | None = None,
    ) -> None:
        """Store the facts of the task, which `leyden.tasks.regression` describes.

        Raises:
            ValueError: if a list has not one valid value for each target, or the columns have no different names.
        """
        super().__init__(labels, temperature)
        count = len(self.labels)
        self.units = list(units) or [""] * count
        self.error_noun = "mean absolute error of the targets, in their standard deviations"
        if count == 1:
            self.error_noun = "absolute error" + (f" in {self.units[0]}" if self.units[0] else "")
        numbers = [each for each in (mean, std, radius) if each is not None and list(each)]
        is_valid = is_list_of(str, self.units, count) and all(is_list_of(float, each, count) for each in numbers)
        if not (is_valid and min(std or [1.0]) > 0 and min(radius or [0.0]) >= 0):
            raise ValueError(f"units, mean, std or radius that do not fit {count} target(s)")
        self.std = np.array(list(std) or [1.0] * count)
        self.radius = None if radius is None else np.array(radius)
        if len({"path", "error", *(columns := self.columns(0))}) < len(columns) + 2:
            raise ValueError("targets named as other columns of predictions")
        self._share_unit = len(set(self.units)) == 1 and self.units[0] != ""
        self.headline = "mae" if len(self.labels) == 1 or self._share_unit else "r2"

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        return outputs

    def errors(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the absolute error; of several targets, the mean in units of their standard deviations."""
        differences = np.abs(outputs.astype(np.float64) - targets)
        return differences[:, 0] if len(self.labels) == 1 else (differences / self.std).mean(axis=1)

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        return (np.abs(outputs - others) <= AGREEMENT * self.std).mean(axis=1)

    def spread(self, outputs: np.ndarray) -> np.ndarray | float:
        """Return the standard deviation of each target over the training examples: their units may differ."""
        return self.std

    def measures(self, outputs: np.ndarray, targets: np.ndarray) -> list[AnyMeasure]:
        measures: list[AnyMeasure] = regression_measures(outputs, targets, self.labels, self._share_unit)
        if self.radius is not None:
            names = ["coverage"] if len(self.labels) == 1 else [f"coverage/{label}" for label in self.labels]
            residuals = outputs.astype(np.float64) - targets
            measures += [coverage_measure(name, residuals[:, k], self.radius[k]) for k, name in enumerate(names)]
        return measures

    def unit(self, measure: str) -> str:
        name, _, label = measure.partition("/")
        if name not in IN_UNITS:
            return ""
        return self.units[self.labels.index(label) if label else 0]

    def columns(self, limit: int) -> list[str]:
        ends = ("", "_low", "_high") if self.radius is not None else ("",)
        return [f"{label}{end}" for label in self.labels for end in ends]

    def rows(self, outputs: np.ndarray, limit: int) -> list[Row]:
        radius = np.zeros((1, len(self.labels))) if self.radius is None else self.radius
        bounds = (outputs, outputs - radius, outputs + radius)[: 1 if self.radius is None else 3]
        cells = np.stack(bounds, axis=2).reshape(len(outputs), -1)
        return [dict(zip(self.columns(limit), (f"{cell:.6g}" for cell in row), strict=True)) for row in cells]

    def target_rows(self, targets: np.ndarray) -> list[Row]:
        return [
            {f"true_{label}": f"{value:.6g}" for label, value in zip(self.labels, row, strict=True)} for row in targets
        ]

    def parse_rows(self, rows: Sequence[Row]) -> np.ndarray:
        if missing := [label for label in self.labels if label not in (rows[0] if rows else {})]:
            raise ValueError(f"there is no column {missing[0]}")
        outputs = np.array([[float(row[label]) for label in self.labels] for row in rows])
        if not np.isfinite(outputs).all():
            raise ValueError("a prediction is not a finite number")
        return outputs

    def parse_targets(self, rows: Sequence[Row]) -> np.ndarray:
        return np.array([[float(row[f"true_{label}"]) for label in self.labels] for row in rows])

    def explained_labels(self, outputs: np.ndarray) -> list[list[int]]:
        """Return all targets."""
        return [list(range(len(self.labels))) for _ in outputs]

    def response(self, outputs: "Tensor", reference: "Tensor") -> "Tensor":
        """Return exp(-|change|): 1 at the prediction for the whole input, less with the distance from it.

        The network's outputs, and so their change, are in units of the targets' standard deviations.
        """
        return (outputs - reference).abs().neg().exp()

    def importance(self, maps: "Tensor") -> "Tensor":
        """Return absolute values: what lowers a number matters as much as what raises it."""
        return maps.abs()


READER = RegressionReader
