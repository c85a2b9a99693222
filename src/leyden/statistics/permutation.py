"""Permutation tests of whether parts of the examples have a larger mean than the others."""

from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray

VALUES_PER_BLOCK = 2**21  # 16 MB
MAX_VALUES = 2**28  # drawn in all, which takes a few seconds


def limit_draws(num_draws: int, num_examples: int) -> int:
    """Return how many permutations are drawn: fewer of many examples."""
    return max(1, min(num_draws, MAX_VALUES // max(1, num_examples)))


def permutation_p_values(
    values: NDArray[np.floating], parts: Sequence[NDArray[np.integer]], num_draws: int, seed: int
) -> list[float]:
    """Test whether the mean of each part is larger than that of the other examples, one-sided, by random permutations.

    The same permutations serve all parts. Nothing is assumed of the distribution of the values.

    Args:
        values: (N,).
        parts: Rows of each part's examples; no part is empty.
        num_draws: Number of permutations; the smallest p-value is 1 / (num_draws + 1).
        seed: Of the permutations.

    Source: Phipson and Smyth, "Permutation p-values should never be zero", 2010.
    """
    if not parts:
        return []
    order, starts = np.concatenate(parts), np.cumsum([0, *(len(part) for part in parts[:-1])])
    observed = np.add.reduceat(values[order], starts)
    observed -= 1e-9 * np.abs(values).sum()  # sums of the same values in another order differ by rounding
    generator, num_larger = np.random.default_rng(seed), np.zeros(len(parts), np.int64)
    block_size = max(1, VALUES_PER_BLOCK // len(order))
    for start in range(0, num_draws, block_size):
        repeated = np.tile(values, (min(block_size, num_draws - start), 1))
        permuted = generator.permuted(repeated, axis=1)
        num_larger += (np.add.reduceat(permuted[:, order], starts, axis=1) >= observed).sum(axis=0)
    return ((num_larger + 1) / (num_draws + 1)).tolist()


def smallest_p_value(count: int, total: int, num_draws: int) -> float:
    """Return the smallest p-value that a part of `count` of `total` examples can have."""
    return max(1 / (num_draws + 1), 1 / comb(total, count))
