"""Permutation tests: exact values, no false alarms, equal values."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import permutation_test

from leyden.statistics.permutation import limit_draws, permutation_p_values, smallest_p_value

VALUES = np.array([3.1, 0.2, 1.7, 2.5, 0.9, 0.4, 1.1, 2.9])


def test_p_values_are_those_of_all_permutations():
    parts = [np.array([0, 3, 7]), np.array([1, 4, 5]), np.arange(4)]
    found = permutation_p_values(VALUES, parts, num_draws=40_000, seed=0)
    for part, p_value in zip(parts, found, strict=True):
        sums = [VALUES[list(rows)].sum() for rows in combinations(range(8), len(part))]
        exact = np.mean([total >= VALUES[part].sum() - 1e-9 for total in sums])
        assert p_value == pytest.approx(exact, abs=0.01)
        others = np.delete(VALUES, part)
        by_scipy = permutation_test(
            (VALUES[part], others), lambda a, b: a.mean() - b.mean(), alternative="greater", n_resamples=np.inf
        )
        assert p_value == pytest.approx(by_scipy.pvalue, abs=0.01)


def test_equal_values_differ_nowhere():
    assert permutation_p_values(np.full(9, 0.1), [np.arange(3), np.arange(5)], 200, 0) == [1.0, 1.0]
    assert permutation_p_values(VALUES, [], 200, 0) == []


def test_the_smallest_p_value_is_limited_by_the_draws_and_by_the_counts():
    assert smallest_p_value(2, 10, 10_000) == 1 / 45
    assert smallest_p_value(5000, 10_000, 999) == 0.001
    assert permutation_p_values(np.array([9.0, 8, *[0.0] * 8]), [np.arange(2)], 20_000, 0)[0] == pytest.approx(
        1 / 45, abs=0.005
    )
    assert limit_draws(10_000, 350) == 10_000
    assert limit_draws(10_000, 1_000_000) == 268
