"""Bootstrap intervals and paired comparisons: known values, coverage, and degenerate examples."""

import numpy as np
import pytest

from leyden.statistics.bootstrap import bootstrap_intervals, paired_bootstrap
from leyden.statistics.mcnemar import mcnemar_p_value, paired_change_interval
from leyden.statistics.measures import NOT_NEGATIVE, Measure, fraction_measure, mean_measure
from leyden.statistics.regression import median_measure, regression_measures
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


def test_paired_comparison_of_fractions_is_mcnemars():
    old, new = np.array([True] * 80 + [False] * 20), np.array([True] * 70 + [False] * 25 + [True] * 5)
    change = paired_bootstrap([fraction_measure("accuracy", old)], [fraction_measure("accuracy", new)], 0.95)
    assert change["accuracy"] == pytest.approx(
        (0.8, 0.75, -0.05, *paired_change_interval(10, 5, 100, 0.95), mcnemar_p_value(10, 5))
    )


def test_a_model_does_not_differ_from_itself():
    values = np.random.default_rng(0).random(50)
    measures = [mean_measure("iou", values, True, bounds=(0, 1)), mean_measure("mean", values, True)]
    measures.append(mean_measure("kappa", values, True, bounds=(-1, 1)))
    changes = paired_bootstrap(measures, measures, 0.95)
    assert changes["mean"][2:] == (0, 0, 0, 1)
    assert changes["iou"].p_value == 1
    assert -0.06 < changes["iou"].low < 0 < changes["iou"].high < 0.06
    assert changes["kappa"][3:5] == pytest.approx((2 * changes["iou"].low, 2 * changes["iou"].high))


def test_paired_comparison_of_groups_has_the_uncertainty_of_the_groups():
    generator = np.random.default_rng(0)
    old, change = generator.normal(size=(40, 10)), generator.normal(0.1, 1, size=(40, 1))
    groups = np.repeat(np.arange(40), 10)
    result = paired_bootstrap(
        [mean_measure("mean", old.ravel(), True)],
        [mean_measure("mean", (old + change).ravel(), True)],
        0.95,
        groups=groups,
    )["mean"]
    margin = 2.023 * change.std(ddof=1) / np.sqrt(40)
    assert (result.low, result.high) == pytest.approx((change.mean() - margin, change.mean() + margin), abs=0.01)


@pytest.mark.parametrize("trials", [None, np.arange(100) < 30])
def test_a_bounded_measure_of_zeros_and_ones_has_wilsons_interval(trials):
    fraction = fraction_measure("fraction", np.arange(100) % 5 > 0, trials)
    measure = Measure("fraction", fraction.statistics, fraction.combine, True, fraction.bounds)
    estimate = bootstrap_intervals([measure], 0.95)["fraction"]
    assert tuple(estimate) == pytest.approx(tuple(bootstrap_intervals([fraction], 0.95)["fraction"]), abs=0.02)


def test_interval_of_a_skewed_mean_is_longer_above_than_below():
    values = np.random.default_rng(0).lognormal(size=100)
    mean = bootstrap_intervals([mean_measure("mean", values, False, NOT_NEGATIVE)], 0.95)["mean"]
    assert (mean.high - mean.value) / (mean.value - mean.low) > 1.15


def test_median_has_an_interval_between_order_statistics():
    """With 95% probability between 40 and 60 of 100 examples are below the median."""
    estimate = bootstrap_intervals([median_measure("median", np.arange(100.0))], 0.95)["median"]
    assert estimate == pytest.approx((49.5, 39.5, 59.5), abs=1)


def test_intervals_are_the_same_for_the_same_seed_and_contain_the_value():
    generator = np.random.default_rng(0)
    measures = regression_measures(generator.normal(size=(30, 2)), generator.normal(size=(30, 2)), ["a", "b"], True)
    first, second = (bootstrap_intervals(measures, 0.95, 500, seed=3) for _ in range(2))
    assert first == second
    assert first != bootstrap_intervals(measures, 0.95, 500, seed=4)
    assert all(low < value < high for value, low, high in first.values())


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 12])
def test_intervals_of_few_examples_are_finite_and_contain_the_value(count):
    generator = np.random.default_rng(count)
    targets = generator.normal(size=(count, 1))
    residuals = generator.normal(size=(count, 1)) * (generator.random((count, 1)) < 0.5)
    estimates = bootstrap_intervals(regression_measures(targets + residuals, targets, ["width"]), 0.95, 1000)
    assert len(estimates) == (4 if count > 1 else 0)
    assert all(np.isfinite(low) and low <= value <= high < np.inf for value, low, high in estimates.values())


def test_no_examples_and_no_measures():
    assert bootstrap_intervals([], 0.95) == {}
    assert bootstrap_intervals([mean_measure("mean", [], True)], 0.95) == {}
    assert paired_bootstrap([], [], 0.95) == {}


def test_a_missing_value_plays_no_part_in_a_mean():
    measures = [mean_measure("mean", [1.0, np.nan, 3.0, 8.0], True)]
    expected = bootstrap_intervals([mean_measure("mean", [1.0, 3.0, 8.0], True)], 0.95)["mean"]
    assert tuple(bootstrap_intervals(measures, 0.95)["mean"]) == pytest.approx(tuple(expected))


def test_fractions_of_grouped_examples_are_not_compared_as_if_these_were_independent():
    old, new = (np.repeat(np.arange(20) < count, 10) for count in (12, 15))
    measures = [fraction_measure("accuracy", old)], [fraction_measure("accuracy", new)]
    assert paired_bootstrap(*measures, 0.95)["accuracy"].p_value < 1e-6
    assert paired_bootstrap(*measures, 0.95, groups=np.repeat(np.arange(20), 10))["accuracy"].p_value > 0.05
