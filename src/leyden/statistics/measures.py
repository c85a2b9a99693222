"""Measures: metrics as functions of how often each example counts, so that any of them can be bootstrapped."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
UNBOUNDED = (-math.inf, math.inf)
FRACTION = (0.0, 1.0)
NOT_NEGATIVE = (0.0, math.inf)


@dataclass(frozen=True, eq=False)
class Measure:
    """A metric that is a function of sums over the examples, such as a mean, F1 or R2.

    Measures that share one `statistics` array are summed once.

    Args:
        name: Key of the metric.
        statistics: What each example adds to the sums, (N, S); an example that plays no part has only zeros.
        combine: From sums (..., S) to values (...,), vectorised; multiplying all sums by a number changes nothing.
            NaN where the metric is undefined.
        higher_is_better: Whether larger values are better.
        bounds: Smallest and largest possible value.
        is_proportion: Whether `statistics` are whether an example is a success, and whether it is a trial, 0 or 1.
    """

    name: str
    statistics: FloatArray = field(repr=False)
    combine: Callable[[FloatArray], FloatArray] = field(repr=False)
    higher_is_better: bool
    bounds: tuple[float, float] = UNBOUNDED
    is_proportion: bool = False

    @property
    def num_examples(self) -> int:
        return len(self.statistics)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which examples play a part, (N,)."""
        return (self.statistics != 0).any(axis=1)


@dataclass(frozen=True, eq=False)
class WeightedMeasure:
    """A metric that is no function of sums, such as average precision or a median.

    Measures that share one `statistics` function call it once.

    Args:
        name: Key of the metric.
        statistics: From weights (R, N), how often each example counts, to statistics (R, S).
        combine: From statistics (R, S) to values (R,). NaN where the metric is undefined.
        counted: Which examples the metric rests on, such as the positive ones, bool (N,).
        higher_is_better: Whether larger values are better.
        bounds: Smallest and largest possible value.
    """

    name: str
    statistics: Callable[[FloatArray], FloatArray] = field(repr=False)
    combine: Callable[[FloatArray], FloatArray] = field(repr=False)
    counted: NDArray[np.bool_] = field(repr=False)
    higher_is_better: bool
    bounds: tuple[float, float] = UNBOUNDED

    @property
    def num_examples(self) -> int:
        return len(self.counted)


AnyMeasure = Measure | WeightedMeasure


def has_bounds(measure: AnyMeasure) -> bool:
    """Return whether a measure has a smallest and a largest possible value."""
    return all(math.isfinite(bound) for bound in measure.bounds)


def ratio(sums: FloatArray) -> FloatArray:
    """Return the first sum divided by the second, (..., 2) to (...,); NaN where that is 0."""
    return divide(sums[..., 0], sums[..., 1])


def divide(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """Divide elementwise; NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    quotient = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator != 0)


def defined_mean(values: FloatArray) -> FloatArray:
    """Return the mean over the last axis of the values that are not NaN, (..., S) to (...,); NaN if all are."""
    is_defined = ~np.isnan(values)
    return divide(np.where(is_defined, values, 0).sum(axis=-1), is_defined.sum(axis=-1))


def mean_measure(
    name: str, values: ArrayLike, higher_is_better: bool, bounds: tuple[float, float] = UNBOUNDED
) -> Measure:
    """Return the mean of the examples' values (N,); NaN for an example that plays no part."""
    values = np.asarray(values, dtype=np.float64)
    is_counted = ~np.isnan(values)
    return Measure(name, np.stack([np.where(is_counted, values, 0), is_counted], 1), ratio, higher_is_better, bounds)


def fraction_measure(
    name: str, successes: ArrayLike, trials: ArrayLike | None = None, higher_is_better: bool = True
) -> Measure:
    """Return the fraction of the trials, bool (N,), None if all examples are, that are successes, bool (N,)."""
    successes = np.asarray(successes, dtype=bool)
    trials = np.ones_like(successes) if trials is None else np.asarray(trials, dtype=bool)
    statistics = np.stack([successes & trials, trials], 1).astype(np.float64)
    return Measure(name, statistics, ratio, higher_is_better, FRACTION, is_proportion=True)
