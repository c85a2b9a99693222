"""Intervals from known resampled values."""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from leyden.statistics.resampled_intervals import (
    bootstrap_t_interval,
    bounded_interval,
    percentile_interval,
    resampled_variance,
    student_interval,
    student_p_value,
)
from leyden.statistics.resampling import delta_errors
from leyden.statistics.score_intervals import fraction_interval

NORMAL = ndtri((np.arange(100_000) + 0.5) / 100_000)


def test_percentiles_of_a_normal_distribution_are_as_far_out_as_students():
    margin = 2.7764 * math.sqrt(5 / 4)
    assert percentile_interval(3, 3 + NORMAL, 5, 0.95) == pytest.approx((3 - margin, 3 + margin), abs=0.01)


def test_bounded_interval_is_wilsons_with_students_quantile():
    resampled = np.array([0.5, 0.9] * 50)
    expected = fraction_interval(0.7, (0, 0), 0.04 * 5 / 4 * (2.7764 / 1.95996) ** 2, 5, 0.95)
    assert bounded_interval(0.7, resampled, (0, 1), 5, 0.95) == pytest.approx(expected, rel=1e-4)
    low, high = bounded_interval(0.4, 2 * resampled - 1, (-1, 1), 5, 0.95)
    assert (low, high) == pytest.approx((2 * expected[0] - 1, 2 * expected[1] - 1), rel=1e-4)


def test_bootstrap_t_interval_without_a_bound():
    errors = np.full(len(NORMAL), 0.5)
    interval = bootstrap_t_interval(3, 0.5, 3 + 0.5 * NORMAL, errors, (-math.inf, math.inf), 0.95)
    assert interval == pytest.approx((3 - 0.98, 3 + 0.98), abs=1e-3)


def test_bootstrap_t_interval_with_a_bound_is_that_of_the_logarithm():
    resampled = 2 * np.exp(0.1 * NORMAL)
    low, high = bootstrap_t_interval(2, 0.2, resampled, 0.1 * resampled, (0, math.inf), 0.95)
    assert (low, high) == pytest.approx((2 * math.exp(-0.196), 2 * math.exp(0.196)), rel=1e-3)
    mirrored = bootstrap_t_interval(-1, 0.2, 1 - resampled, 0.1 * resampled, (-math.inf, 1), 0.95)
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_resamples_of_examples_that_are_alike_do_not_enter_a_bootstrap_t_interval():
    resampled = np.append(2 * np.exp(0.1 * NORMAL), [0.5] * 5000)
    errors = np.append(0.1 * resampled[:-5000], [0.0, 1e-9] * 2500)
    interval = bootstrap_t_interval(2, 0.2, resampled, errors, (0, math.inf), 0.95)
    assert interval == pytest.approx((2 * math.exp(-0.196), 2 * math.exp(0.196)), rel=1e-3)


def test_students_interval_and_p_value_agree():
    assert student_interval(2, 4, 10, 0.95) == pytest.approx((2 - 2.2622 * 2, 2 + 2.2622 * 2), abs=1e-3)
    assert student_p_value(2.2622 * 2, 4, 10) == pytest.approx(0.05, abs=1e-5)


def test_variance_is_corrected_for_the_number_of_units():
    assert resampled_variance(np.array([0, 2, np.nan]), 5) == pytest.approx(1.25)
    assert resampled_variance(np.array([0.1 + 0.2, 0.3]), 5) == 0


def test_delta_error_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(5, 2, size=50)
    statistics, weights = np.stack([values, np.ones(50)], axis=1), np.ones((1, 50))
    error = delta_errors(lambda sums: sums[..., 0] / sums[..., 1], weights @ statistics, weights, statistics)
    assert error == pytest.approx(values.std() / math.sqrt(50), rel=1e-4)
