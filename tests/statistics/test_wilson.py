"""Wilson's interval: known values, and coverage."""

import math

import pytest
from scipy import stats

from leyden.statistics.wilson import wilson_interval


def test_interval_of_a_known_proportion():
    """Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I: 81 of 263, and 15 of 148."""
    assert wilson_interval(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148, 0.95) == pytest.approx((0.0624, 0.1605), abs=5e-5)


@pytest.mark.parametrize("successes", [0, 4, 10, 16, 20])
def test_interval_agrees_with_scipy(successes):
    expected = stats.binomtest(successes, 20).proportion_ci(0.9, method="wilson")
    assert wilson_interval(successes, 20, 0.9) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("successes", [1, 2, 3])
def test_the_lower_bound_of_few_successes_is_that_of_a_poisson_variable(successes):
    """Of which the probability to be as large is 10%: the gamma distribution of the waiting time."""
    low, high = wilson_interval(successes, 20, 0.9)
    assert low == pytest.approx(stats.gamma.ppf(0.1, successes) / 20)
    assert high == pytest.approx(stats.binomtest(successes, 20).proportion_ci(0.9, method="wilson").high)


def test_interval_is_symmetric_in_successes_and_failures():
    low, high = wilson_interval(3, 20, 0.9)
    assert wilson_interval(17, 20, 0.9) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("successes", [0, 20])
def test_interval_of_none_or_all_has_a_width_and_lies_in_0_to_1(successes):
    low, high = wilson_interval(successes, 20, 0.95)
    assert 0 <= low <= successes / 20 + 1e-12
    assert successes / 20 - 1e-12 <= high <= 1
    assert high - low == pytest.approx(0.161, abs=1e-3)


@pytest.mark.parametrize("proportion", [0.1, 0.5, 0.97])
def test_interval_contains_the_true_proportion_about_as_often_as_its_level(proportion):
    coverage = sum(
        math.comb(100, count) * proportion**count * (1 - proportion) ** (100 - count)
        for count in range(101)
        if wilson_interval(count, 100, 0.9)[0] <= proportion <= wilson_interval(count, 100, 0.9)[1]
    )
    assert coverage == pytest.approx(0.9, abs=0.05)
