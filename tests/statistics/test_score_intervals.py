"""Intervals of fractions and losses contain what their score tests do not reject."""

import math

import pytest
from scipy import stats

from leyden.statistics.score_intervals import fraction_interval, loss_interval
from leyden.statistics.wilson import wilson_interval


def test_a_fraction_with_a_binomial_variance_has_wilsons_interval():
    assert fraction_interval(0.3, (0, 0), 0.3 * 0.7 / 50, 10, 0.95) == pytest.approx(wilson_interval(15, 50, 0.95))
    for estimate in (0, 1):  # without a variance, the number of examples decides
        assert fraction_interval(estimate, (0, 0), 0, 20, 0.9) == wilson_interval(20 * estimate, 20, 0.9)


def test_a_fraction_that_may_be_too_high_or_too_low_has_the_ends_of_both():
    low, high = fraction_interval(0.3, (-0.02, 0.05), 0.004, 10, 0.95)
    lower, upper = (wilson_interval(p * p * (1 - p) / 0.004, p * (1 - p) / 0.004, 0.95) for p in (0.25, 0.32))
    assert (low, high) == pytest.approx((lower[0], upper[1]))
    assert fraction_interval(0.02, (0, 0.05), 0.004, 10, 0.95)[0] == 0


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_ends_for_a_loss_deviate_from_it_by_students_quantile_of_their_own_error(level):
    mean, event_size, count = 0.4, 2.0, 100
    quantile = stats.t.ppf((1 + level) / 2, 3 + count * mean / event_size)
    low, high = loss_interval(mean, event_size, count, level)
    assert low < mean < high
    for end in (low, high):
        assert abs(end - mean) / math.sqrt(end * event_size / count) == pytest.approx(quantile)


def test_a_loss_of_zero_has_an_upper_end():
    low, high = loss_interval(0.0, 2.0, 100, 0.95)
    assert low == 0
    assert high == pytest.approx(stats.t.ppf(0.975, 3) ** 2 * 2 / 100)
