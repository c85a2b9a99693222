"""Bootstrap resamples: how often each example, or group of examples, is drawn, and the measures' values then."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from leyden.statistics.measures import AnyMeasure, FloatArray, Measure

WEIGHTS_PER_BLOCK = 2**21  # 16 MB


class Units:
    """What is drawn: the examples, or groups of them (a cluster bootstrap).

    Args:
        num_examples: N.
        groups: The group of each example, int (N,), such as a patient; None if examples are independent.
    """

    def __init__(self, num_examples: int, groups: NDArray[np.integer] | None = None) -> None:
        self.index = None if groups is None else np.unique(groups, return_inverse=True)[1]
        self.count = num_examples if self.index is None else int(self.index.max(initial=-1)) + 1

    def sum(self, statistics: FloatArray) -> FloatArray:
        """Sum the statistics of each unit's examples, (N, S) to (units, S)."""
        if self.index is None:
            return statistics
        sums = np.zeros((self.count, statistics.shape[1]))
        np.add.at(sums, self.index, statistics)
        return sums

    def count_any(self, is_counted: NDArray[np.bool_]) -> int:
        """Return the number of units with any of the counted examples, bool (N,)."""
        return int(is_counted.sum()) if self.index is None else len(np.unique(self.index[is_counted]))

    def expand(self, weights: FloatArray) -> FloatArray:
        """Return each example's weight, (R, units) to (R, N)."""
        return weights if self.index is None else weights[:, self.index]


def resample_weights(num_units: int, num_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Draw how often each unit is in each resample of as many units, in blocks (R, units).

    Source: Efron, "Bootstrap methods: another look at the jackknife", 1979.
    """
    generator = np.random.default_rng(seed)
    block_size = max(1, WEIGHTS_PER_BLOCK // num_units)
    for start in range(0, num_resamples, block_size):
        size = min(block_size, num_resamples - start)
        drawn = generator.integers(num_units, size=(size, num_units), dtype=np.int32)
        drawn += np.arange(size, dtype=np.int32)[:, None] * num_units
        counts = np.bincount(drawn.ravel(), minlength=size * num_units)
        yield counts.reshape(size, num_units).astype(np.float64)


def measure_values(measures: Sequence[AnyMeasure], weights: FloatArray, units: Units) -> FloatArray:
    """Compute the measures' values for each row of the units' weights, (R, units) to (R, measures)."""
    sums: dict[int, FloatArray] = {}
    values = np.empty((len(weights), len(measures)))
    for column, measure in enumerate(measures):
        if isinstance(measure, Measure):
            key = id(measure.statistics)
            if key not in sums:
                sums[key] = weights @ units.sum(measure.statistics)
            values[:, column] = measure.combine(sums[key])
        else:
            values[:, column] = measure.value(units.expand(weights))
    return values
