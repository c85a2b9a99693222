"""Bootstrap resamples, and the measures and their standard errors in each."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leyden.statistics.measures import AnyMeasure, FloatArray, Measure, divide, has_bounds

WEIGHTS_PER_BLOCK = 2**21  # 16 MB
MAX_RESAMPLES_PER_BLOCK = 256  # bounds the memory of the derivatives of measures with many statistics
MAX_STUDENTIZED_UNITS = 2000  # with more, measures are so nearly normal that percentiles suffice


class Draws(NamedTuple):
    """Measures in R resamples, (R, M), and their standard errors, NaN where these are not used."""

    values: FloatArray
    errors: FloatArray


class Resampler:
    """Draws the same resamples for several measures. The units that are drawn are the examples, or groups of them.

    Args:
        measures: M measures of the same N examples.
        groups: Group of each example, int (N,); None if the examples are independent.
        has_errors: Whether standard errors are computed, of measures that lack a bound.
    """

    def __init__(self, measures: Sequence[AnyMeasure], groups: NDArray[np.integer] | None, has_errors: bool) -> None:
        self.measures = measures
        self.unit_of_example = None if groups is None else np.unique(groups, return_inverse=True)[1]
        self.num_units = measures[0].num_examples if groups is None else len(np.unique(groups))
        self.has_errors = has_errors and self.num_units <= MAX_STUDENTIZED_UNITS
        self.columns: dict[int, list[int]] = {}  # of each measure's statistics in unit_statistics
        distinct: dict[bytes, tuple[int, FloatArray]] = {}  # the same column is summed once for all measures
        for measure in measures:
            if isinstance(measure, Measure) and id(measure.statistics) not in self.columns:
                for column in np.ascontiguousarray(measure.statistics.T):
                    index, _ = distinct.setdefault(column.tobytes(), (len(distinct), column))
                    self.columns.setdefault(id(measure.statistics), []).append(index)
        sums = [self._sum_by_unit(column) for _, column in distinct.values()]
        self.unit_statistics = np.reshape(sums, (len(sums), self.num_units)).T

    def estimate(self) -> Draws:
        """Compute the measures on the examples themselves, with R = 1."""
        return self._evaluate(np.ones((1, self.num_units)))

    def draw(self, num_resamples: int, seed: int) -> Draws:
        """Compute the measures in each resample."""
        blocks = [self._evaluate(weights) for weights in draw_weights(self.num_units, num_resamples, seed)]
        return Draws(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))

    def count_units(self, is_counted: NDArray[np.bool_]) -> int:
        """Return the number of units with any of the examples that are counted, bool (N,)."""
        unit = self.unit_of_example
        return int(is_counted.sum()) if unit is None else len(np.unique(unit[is_counted]))

    def _sum_by_unit(self, values: FloatArray) -> FloatArray:
        """Sum values of the examples, (N,) to (units,)."""
        unit = self.unit_of_example
        return values if unit is None else np.bincount(unit, values, self.num_units).astype(np.float64)

    def _evaluate(self, weights: FloatArray) -> Draws:
        """Compute the measures and their standard errors for each row of the units' weights, (R, units)."""
        sums = weights @ self.unit_statistics
        statistics: dict[int, FloatArray] = {}
        values, errors = (np.full((len(weights), len(self.measures)), np.nan) for _ in range(2))
        for column, measure in enumerate(self.measures):
            key = id(measure.statistics)
            if key not in statistics:
                if isinstance(measure, Measure):
                    statistics[key] = sums[:, self.columns[key]]
                else:
                    unit = self.unit_of_example
                    statistics[key] = measure.statistics(weights if unit is None else weights[:, unit])
            values[:, column] = measure.combine(statistics[key])
            if self.has_errors and isinstance(measure, Measure) and not has_bounds(measure):
                errors[:, column] = delta_errors(
                    measure.combine, statistics[key], weights, self.unit_statistics[:, self.columns[key]]
                )
        return Draws(values, errors)


def draw_weights(num_units: int, num_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Draw how often each unit is in each resample of as many units, in blocks (R, units).

    Source: Efron, "Bootstrap methods: another look at the jackknife", 1979.
    """
    generator = np.random.default_rng(seed)
    block_size = min(MAX_RESAMPLES_PER_BLOCK, max(1, WEIGHTS_PER_BLOCK // num_units))
    for start in range(0, num_resamples, block_size):
        size = min(block_size, num_resamples - start)
        drawn = generator.integers(num_units, size=(size, num_units), dtype=np.int32)
        drawn += np.arange(size, dtype=np.int32)[:, None] * num_units
        counts = np.bincount(drawn.ravel(), minlength=size * num_units)
        yield counts.reshape(size, num_units).astype(np.float64)


def delta_errors(
    combine: Callable[[FloatArray], FloatArray], sums: FloatArray, weights: FloatArray, unit_statistics: FloatArray
) -> FloatArray:
    """Estimate the standard errors of a function of weighted sums by the delta method, (R,).

    Args:
        combine: From sums (..., S) to values (...,).
        sums: The weighted sums, (R, S).
        weights: Of the units, (R, units).
        unit_statistics: What each unit adds to the sums, (units, S).

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 21.3.
    """
    steps = 1e-6 * np.maximum(np.abs(sums), 1e-3 * np.abs(sums).max(axis=1, keepdims=True))
    changed = combine(sums[:, None] + np.eye(sums.shape[1]) * steps[:, None])  # never below 0, where sums are not
    gradients = divide(changed - combine(sums)[:, None], steps)
    influences = gradients @ unit_statistics.T
    return np.sqrt(np.einsum("ru,ru,ru->r", weights, influences, influences))
