"""Measures of regression."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from leyden.statistics.measures import (
    NOT_NEGATIVE,
    AnyMeasure,
    FloatArray,
    Measure,
    WeightedMeasure,
    defined_mean,
    divide,
)


def regression_measures(
    predictions: ArrayLike, targets: ArrayLike, names: Sequence[str], share_unit: bool = False
) -> list[AnyMeasure]:
    """Return the mean absolute error, root-mean-square error, median absolute error and R2.

    One target's are named `mae`, `rmse`, `median_absolute_error` and `r2`. Several targets' are followed by the
    target's name, as in `mae/width`; then `r2` is the mean over the targets, and so are `mae` and `rmse` if these
    share a unit. A target that is NaN plays no part. R2 is undefined if a target is constant.

    Args:
        predictions: (N, T), in the unit of each target.
        targets: (N, T).
        names: Of the T targets.
        share_unit: Whether all targets are in the same unit.
    """
    predictions, targets = (np.asarray(array, dtype=np.float64) for array in (predictions, targets))
    sums_by_target = [target_statistics(predictions[:, index], targets[:, index]) for index in range(len(names))]
    residuals = predictions - targets
    measures: list[AnyMeasure] = []
    if len(names) > 1:
        statistics = np.concatenate(sums_by_target, axis=1)
        measures += [
            Measure(name, statistics, mean_over_targets(combine, len(names)), higher_is_better, bounds)
            for name, (combine, higher_is_better, bounds) in METRICS.items()
            if share_unit or name == "r2"
        ]
    for index, (name, statistics) in enumerate(zip(names, sums_by_target, strict=True)):
        suffix = f"/{name}" if len(names) > 1 else ""
        measures += [Measure(metric + suffix, statistics, *arguments) for metric, arguments in METRICS.items()]
        measures.append(median_measure(f"median_absolute_error{suffix}", np.abs(residuals[:, index])))
    return measures


def target_statistics(predictions: FloatArray, targets: FloatArray) -> FloatArray:
    """Return, for each example (N,), a one, the absolute and squared error, the target and its square, (N, 5)."""
    is_known = ~np.isnan(targets)
    errors = np.where(is_known, predictions - targets, 0)
    # Subtracting their mean changes no measure, and keeps the sum of squares precise.
    centred = np.where(is_known, targets - (targets[is_known].mean() if is_known.any() else 0), 0)
    return np.stack([is_known.astype(np.float64), np.abs(errors), errors**2, centred, centred**2], axis=1)


def mean_absolute_error(sums: FloatArray) -> FloatArray:
    return divide(sums[..., 1], sums[..., 0])


def root_mean_square_error(sums: FloatArray) -> FloatArray:
    return np.sqrt(divide(sums[..., 2], sums[..., 0]))


def r2(sums: FloatArray) -> FloatArray:
    """Return the fraction of the targets' variance that the predictions explain; NaN if they are all equal."""
    count, _, squared_error, total, squares = np.moveaxis(sums, -1, 0)
    variation = squares - divide(total**2, count)
    return 1 - divide(squared_error, np.where(variation > 1e-12 * squares, variation, 0))  # below, it is rounding


METRICS: dict[str, tuple[Callable[[FloatArray], FloatArray], bool, tuple[float, float]]] = {
    "mae": (mean_absolute_error, False, NOT_NEGATIVE),
    "rmse": (root_mean_square_error, False, NOT_NEGATIVE),
    "r2": (r2, True, (-np.inf, 1.0)),
}


def mean_over_targets(
    combine: Callable[[FloatArray], FloatArray], num_targets: int
) -> Callable[[FloatArray], FloatArray]:
    """Return the mean over the targets of a function of one target's sums."""
    return lambda sums: defined_mean(combine(sums.reshape(*sums.shape[:-1], num_targets, -1)))


def median_measure(name: str, values: ArrayLike) -> WeightedMeasure:
    """Return the median of values (N,), not negative; NaN for an example that plays no part."""
    values = np.asarray(values, dtype=np.float64)
    is_counted = ~np.isnan(values)
    order = np.flatnonzero(is_counted)[np.argsort(values[is_counted])]
    ordered = values[order]

    def median(weights: FloatArray) -> FloatArray:
        cumulative = weights[:, order].cumsum(axis=1)
        half = cumulative[:, -1:] / 2
        is_defined = half[:, 0] > 0
        medians = np.full((len(weights), 1), np.nan)
        lower, upper = ((cumulative < half).sum(axis=1), (cumulative <= half).sum(axis=1))
        medians[is_defined, 0] = (ordered[lower[is_defined]] + ordered[upper[is_defined]]) / 2
        return medians

    return WeightedMeasure(name, median, lambda values: values[..., 0], is_counted, False, NOT_NEGATIVE)
