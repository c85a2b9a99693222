"""Bootstrap intervals of measures, and the paired comparison of two models' measures."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from leyden.statistics.measures import AnyMeasure, FloatArray, Measure
from leyden.statistics.resampling import Units, measure_values, resample_weights
from leyden.statistics.score_intervals import fraction_interval
from leyden.statistics.wilson import wilson_interval


class Estimate(NamedTuple):
    """A measure's value on the examples, and the interval of the value on infinitely many examples of the same kind."""

    value: float
    low: float
    high: float


class Change(NamedTuple):
    """By how much a measure of a new model exceeds an old one's: the interval, and the p-value of no difference."""

    old: float
    new: float
    change: float
    low: float
    high: float
    p_value: float


def bootstrap_intervals(
    measures: Sequence[AnyMeasure],
    confidence_level: float,
    num_resamples: int = 10_000,
    seed: int = 0,
    groups: NDArray[np.integer] | None = None,
) -> dict[str, Estimate]:
    """Compute each measure with an interval, from the same resamples for all; by name.

    A measure is left out where it is undefined (NaN), or where fewer than two units play a part in one without bounds.

    Args:
        measures: Of the same N examples.
        confidence_level: In (0, 1).
        num_resamples: Time and precision grow with it.
        seed: Of the resamples; the same seed gives the same intervals.
        groups: Group of each example, int (N,): groups are resampled as a whole. None if examples are independent.
    """
    if not measures:
        return {}
    units = Units(measures[0].num_examples, groups)
    values = measure_values(measures, np.ones((1, units.count)), units)[0].tolist()
    resampled = resample_values(measures, units, num_resamples, seed)
    estimates = {}
    for measure, value, draws in zip(measures, values, resampled.T, strict=True):
        size = units.count_any(measure.counted)
        if math.isfinite(value) and (size > 1 or has_bounds(measure)):
            low, high = measure_interval(measure, value, draws, size, groups is not None, confidence_level)
            estimates[measure.name] = Estimate(value, low, high)
    return estimates


def has_bounds(measure: AnyMeasure) -> bool:
    """Return whether a measure has a smallest and a largest possible value."""
    return all(math.isfinite(bound) for bound in measure.bounds)


def resample_values(measures: Sequence[AnyMeasure], units: Units, num_resamples: int, seed: int) -> FloatArray:
    """Compute the measures' values in each resample, (num_resamples, measures)."""
    blocks = resample_weights(units.count, num_resamples, seed)
    return np.concatenate([measure_values(measures, weights, units) for weights in blocks])


def measure_interval(
    measure: AnyMeasure, value: float, draws: FloatArray, size: int, is_grouped: bool, confidence_level: float
) -> tuple[float, float]:
    """Compute a measure's interval.

    Args:
        measure: Its bounds decide how the interval is computed.
        value: Of the measure; the interval contains it.
        draws: Its values in the resamples, (R,).
        size: Number of units that play a part.
        is_grouped: Whether units are groups of examples.
        confidence_level: In (0, 1).
    """
    if isinstance(measure, Measure) and measure.is_proportion and not is_grouped:
        successes, trials = measure.statistics.sum(axis=0).tolist()
        return wilson_interval(int(successes), int(trials), confidence_level)
    draws = draws[np.isfinite(draws)]
    if has_bounds(measure):
        low, width = measure.bounds[0], measure.bounds[1] - measure.bounds[0]
        variance = float(draws.var()) / width**2 if len(draws) else 0.0
        interval = fraction_interval((value - low) / width, (0.0, 0.0), variance, size, confidence_level)
        return low + width * interval[0], low + width * interval[1]
    return percentile_interval(value, draws, size, confidence_level)


def percentile_interval(value: float, draws: FloatArray, size: int, confidence_level: float) -> tuple[float, float]:
    """Compute the interval between percentiles of the resamples' values, as much further out as Student's t is.

    Source: Hesterberg, "What teachers should know about the bootstrap", 2015, section 5.3 (expanded percentiles).
    """
    quantile = stdtrit(size - 1, (1 - confidence_level) / 2) * math.sqrt(size / (size - 1))
    tail = float(ndtr(quantile))
    low, high = np.quantile(draws, [tail, 1 - tail]).tolist()
    return min(low, value), max(high, value)


def paired_bootstrap(
    old: Sequence[AnyMeasure],
    new: Sequence[AnyMeasure],
    confidence_level: float,
    num_resamples: int = 10_000,
    seed: int = 0,
    groups: NDArray[np.integer] | None = None,
) -> dict[str, Change]:
    """Compare two models' measures on the same examples, from the same resamples for all; by name.

    The p-value is two-sided. A fraction of examples is compared by McNemar's exact test.

    Args:
        old: The old model's measures of N examples.
        new: The new model's, of the same examples in the same order, and of the same names.
        confidence_level: Of the intervals of the changes, in (0, 1).
        num_resamples: The smallest p-value is 2 / (num_resamples + 1).
        seed: Of the resamples.
        groups: Group of each example, int (N,); None if examples are independent.
    """
    if not old:
        return {}
    units = Units(old[0].num_examples, groups)
    both = [*old, *new]
    values = measure_values(both, np.ones((1, units.count)), units)[0].reshape(2, -1)
    resampled = resample_values(both, units, num_resamples, seed).reshape(num_resamples, 2, -1)
    changes = {}
    for index, (before, after) in enumerate(zip(old, new, strict=True)):
        first, second = values[:, index].tolist()
        size = units.count_any(before.counted | after.counted)
        if math.isfinite(first) and math.isfinite(second) and size > 1:
            draws = resampled[:, 1, index] - resampled[:, 0, index]
            result = compare_draws(second - first, draws[np.isfinite(draws)], size, confidence_level)
            changes[before.name] = Change(first, second, second - first, *result)
    return changes


def compare_draws(change: float, draws: FloatArray, size: int, confidence_level: float) -> tuple[float, float, float]:
    """Return the interval of a change, and the p-value of no change, from the changes in the resamples (R,)."""
    low, high = percentile_interval(change, draws, size, confidence_level)
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return low, high, min(1.0, 2 * (tail + 1) / (len(draws) + 1))
