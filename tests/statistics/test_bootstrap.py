"""Bootstrap intervals and paired comparisons: known values, coverage, and degenerate examples."""

import numpy as np
import pytest

from leyden.statistics.bootstrap import bootstrap_intervals, paired_bootstrap
from leyden.statistics.measures import fraction_measure, mean_measure
from leyden.statistics.wilson import wilson_interval


def test_interval_of_a_mean_is_about_students():
    values = np.random.default_rng(0).normal(3, 2, size=400)
    estimate = bootstrap_intervals([mean_measure("mean", values, True)], 0.95)["mean"]
    margin = 1.966 * values.std(ddof=1) / 20
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.low, estimate.high) == pytest.approx((values.mean() - margin, values.mean() + margin), abs=0.02)


def test_a_fraction_has_wilsons_interval():
    estimates = bootstrap_intervals(
        [fraction_measure("all", [True] * 200), fraction_measure("some", np.arange(200) < 150)], 0.95
    )
    assert estimates["all"] == pytest.approx((1, *wilson_interval(200, 200, 0.95)))
    assert estimates["some"] == pytest.approx((0.75, *wilson_interval(150, 200, 0.95)))


def test_a_measure_without_a_value_is_left_out():
    measures = [fraction_measure("recall", [False] * 9, trials=[False] * 9), mean_measure("mean", np.arange(9), True)]
    assert list(bootstrap_intervals(measures, 0.95)) == ["mean"]


def test_values_that_are_all_equal():
    assert bootstrap_intervals([mean_measure("mean", [2.0] * 9, True)], 0.95)["mean"] == (2, 2, 2)


def test_examples_of_one_group_are_resampled_together():
    values = np.repeat(np.random.default_rng(0).normal(size=40), 10)
    measures = [mean_measure("mean", values, True)]
    grouped = bootstrap_intervals(measures, 0.95, groups=np.repeat(np.arange(40), 10))["mean"]
    alone = bootstrap_intervals([mean_measure("mean", values[::10], True)], 0.95)["mean"]
    assert grouped == pytest.approx(alone)


def test_paired_comparison_sees_a_small_change_of_noisy_values():
    generator = np.random.default_rng(0)
    old = generator.normal(0, 10, size=200)
    new = old + generator.normal(0.2, 0.5, size=200)
    change = paired_bootstrap([mean_measure("mean", old, True)], [mean_measure("mean", new, True)], 0.95)["mean"]
    assert change.change == pytest.approx((new - old).mean())
    assert change.low == pytest.approx(change.change - 0.07, abs=0.02)
    assert change.p_value < 0.001
