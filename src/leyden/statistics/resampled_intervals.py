"""Intervals of a value from its values in resamples of the examples."""

import math

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from leyden.statistics.measures import FloatArray
from leyden.statistics.score_intervals import fraction_interval


def bounded_interval(
    value: float, resampled: FloatArray, bounds: tuple[float, float], size: int, confidence_level: float
) -> tuple[float, float]:
    """Compute Wilson's interval, scaled to the bounds, for as many examples as have the variance of the resamples.

    If all resamples are equal, such as those of a perfect score, it is that of as many successes as units play a part.
    """
    low, width = bounds[0], bounds[1] - bounds[0]
    variance = resampled_variance(resampled, size) / width**2
    if size > 1:  # Wilson's interval is of a known variance; this one was estimated
        quantiles = stdtrit([size - 1, math.inf], (1 + confidence_level) / 2)
        variance *= float(quantiles[0] / quantiles[1]) ** 2
    interval = fraction_interval((value - low) / width, (0.0, 0.0), variance, size, confidence_level)
    return low + width * interval[0], low + width * interval[1]


def bootstrap_t_interval(
    value: float,
    error: float,
    resampled: FloatArray,
    resampled_errors: FloatArray,
    bounds: tuple[float, float],
    confidence_level: float,
) -> tuple[float, float]:
    """Compute the bootstrap-t interval of the logarithm of a measure's distance from its one bound, or of the measure.

    Args:
        value: Of the measure.
        error: Its standard error.
        resampled: The values in the resamples, (R,).
        resampled_errors: Their standard errors, (R,).
        bounds: Of the measure; one or both infinite.
        confidence_level: In (0, 1).

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 12.5 and 12.6.
    """
    bound = next((bound for bound in bounds if math.isfinite(bound)), None)

    def distance(values: FloatArray) -> FloatArray:
        return np.ones_like(values) if bound is None else np.abs(values - bound)

    def scaled(values: FloatArray) -> FloatArray:
        return values if bound is None else np.log(distance(values))

    # Where nearly all examples drawn are alike, the deviation is not defined, or meaningless.
    is_usable = (resampled_errors > 1e-3 * error) & (distance(resampled) > 0)
    resampled, resampled_errors = resampled[is_usable], resampled_errors[is_usable]
    centre, scale = scaled(np.array(value)), error / distance(np.array(value))
    deviations = (scaled(resampled) - centre) / (resampled_errors / distance(resampled))
    tail = (1 - confidence_level) / 2
    ends = centre - scale * np.quantile(deviations, [1 - tail, tail])
    if bound is not None:
        ends = np.sort(bound + np.sign(value - bound) * np.exp(ends))
    return min(float(ends[0]), value), max(float(ends[1]), value)


def percentile_interval(value: float, resampled: FloatArray, size: int, confidence_level: float) -> tuple[float, float]:
    """Compute the interval between percentiles of the resamples' values, as much further out as Student's t is.

    Source: Hesterberg, "What teachers should know about the bootstrap", 2015 (expanded percentiles).
    """
    quantile = stdtrit(size - 1, (1 - confidence_level) / 2) * math.sqrt(size / (size - 1))
    tail = float(ndtr(quantile))
    low, high = np.quantile(resampled[np.isfinite(resampled)], [tail, 1 - tail]).tolist()
    return min(low, value), max(high, value)


def student_interval(value: float, variance: float, size: int, confidence_level: float) -> tuple[float, float]:
    """Compute Student's interval of a value of `size` units, above 1, from its variance."""
    margin = float(stdtrit(size - 1, (1 + confidence_level) / 2)) * math.sqrt(variance)
    return value - margin, value + margin


def student_p_value(value: float, variance: float, size: int) -> float:
    """Compute the two-sided p-value of 0, by Student's test."""
    if variance == 0:
        return float(value == 0)
    return 2 * float(stdtr(size - 1, -abs(value) / math.sqrt(variance)))


def resampled_variance(resampled: FloatArray, size: int) -> float:
    """Return the variance of the resamples' values (R,), corrected for the number of units; 0 if all are the same."""
    resampled = resampled[np.isfinite(resampled)]
    if not len(resampled) or np.ptp(resampled) <= 1e-12 * np.abs(resampled).max():
        return 0.0
    return float(resampled.var()) * size / max(1, size - 1)
