"""The bootstrap interval of a mean: its width, and that a seed repeats it."""

import numpy as np
import pytest

from leyden.statistics.bootstrap import mean_interval

VALUES = np.random.default_rng(0).normal(3, 2, 400)


def test_interval_has_the_width_of_the_standard_error():
    low, high = mean_interval(VALUES, 4000, 0.95, seed=0)
    assert low < VALUES.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * VALUES.std() / 20, rel=0.05)


def test_a_lower_level_is_narrower_and_a_seed_repeats_it():
    wide, narrow = (mean_interval(VALUES, 500, level, seed=1) for level in (0.95, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert wide == mean_interval(VALUES, 500, 0.95, seed=1)
    assert wide != mean_interval(VALUES, 500, 0.95, seed=2)


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval(np.full(5, 0.25), 100, 0.95, seed=0) == (0.25, 0.25)
