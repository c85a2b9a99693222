"""Measures of ordinal classification: grades 0 to K - 1, where a small error is better than a large one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leyden.statistics.measures import FloatArray, Measure, divide, fraction_measure, mean_measure


def ordinal_measures(predicted: NDArray[Any], actual: NDArray[Any], num_classes: int) -> list[Measure]:
    """Return quadratic weighted kappa, the mean absolute error in grades, and the fraction at most one grade off.

    Args:
        predicted: Predicted grades, int (N,).
        actual: Actual grades, int (N,).
        num_classes: Number of grades.
    """
    errors = np.abs(np.asarray(predicted, dtype=np.int64) - np.asarray(actual, dtype=np.int64))
    measures = [quadratic_kappa(predicted, actual)]
    measures.append(mean_measure("mean_absolute_grade_error", errors, False, bounds=(0.0, num_classes - 1.0)))
    if num_classes > 2:
        measures.append(fraction_measure("within_one_accuracy", errors <= 1))
    return measures


def quadratic_kappa(predicted: NDArray[Any], actual: NDArray[Any]) -> Measure:
    """Return Cohen's kappa with quadratic weights; undefined if all grades, predicted and actual, are the same.

    With quadratic weights it is a function of the grades' first and second moments.

    Source: Cohen, "Weighted kappa", 1968; Fleiss and Cohen, "The equivalence of weighted kappa and the intraclass
    correlation coefficient", 1973, for the moments.
    """
    p, a = (np.asarray(grades, dtype=np.float64) for grades in (predicted, actual))
    statistics = np.stack([np.ones_like(p), p, a, (p - a) ** 2, p**2 + a**2], axis=1)

    def combine(sums: FloatArray) -> FloatArray:
        count, of_predicted, of_actual, squared_error, squares = np.moveaxis(sums, -1, 0)
        by_chance = squares - 2 * divide(of_predicted * of_actual, count)
        return 1 - divide(squared_error, by_chance)

    return Measure("quadratic_kappa", statistics, combine, True, bounds=(-1.0, 1.0))
