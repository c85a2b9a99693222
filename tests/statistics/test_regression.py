"""Measures of regression agree with scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.regression import median_measure, regression_measures


def values_of(measures):
    return {name: estimate.value for name, estimate in bootstrap_intervals(measures, 0.95, 200).items()}


@pytest.fixture
def predictions_and_targets():
    generator = np.random.default_rng(0)
    targets = generator.normal(1e8, [1, 20], size=(101, 2))
    return targets + generator.standard_t(3, size=(101, 2)), targets


def test_measures_of_one_target_agree_with_scikit_learn(predictions_and_targets):
    predictions, targets = (array[:, :1] for array in predictions_and_targets)
    assert values_of(regression_measures(predictions, targets, ["width"])) == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(targets, predictions),
            "rmse": metrics.root_mean_squared_error(targets, predictions),
            "r2": metrics.r2_score(targets, predictions),
            "median_absolute_error": metrics.median_absolute_error(targets, predictions),
        }
    )


def test_means_over_targets_agree_with_scikit_learn(predictions_and_targets):
    predictions, targets = predictions_and_targets
    values = values_of(regression_measures(predictions, targets, ["width", "height"], share_unit=True))
    assert {name: values[name] for name in ("mae", "rmse", "r2")} == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(targets, predictions),
            "rmse": metrics.root_mean_squared_error(targets, predictions),
            "r2": metrics.r2_score(targets, predictions),
        }
    )
    assert values["rmse/height"] == pytest.approx(metrics.root_mean_squared_error(targets[:, 1], predictions[:, 1]))


@pytest.mark.parametrize("scale", [1, 1e-16])
def test_measures_of_weighted_examples_agree_with_scikit_learn(scale, predictions_and_targets):
    """Sums of resamples are weighted: in these, the mean of the targets is not that of all examples."""
    predictions, targets = (scale * array[:, :1] for array in predictions_and_targets)
    weights = np.random.default_rng(1).integers(0, 4, size=101)
    measures = {measure.name: measure for measure in regression_measures(predictions, targets, ["width"])}
    for name, function in (
        ("mae", metrics.mean_absolute_error),
        ("rmse", metrics.root_mean_squared_error),
        ("r2", metrics.r2_score),
    ):
        value = measures[name].combine(weights @ measures[name].statistics)
        assert value == pytest.approx(function(targets, predictions, sample_weight=weights), rel=1e-9, abs=0), name


def test_errors_in_different_units_have_no_mean(predictions_and_targets):
    values = values_of(regression_measures(*predictions_and_targets, ["width", "weight"]))
    assert {name for name in values if "/" not in name} == {"r2"}


def test_an_unknown_target_plays_no_part(predictions_and_targets):
    predictions, targets = (array[:, :1].copy() for array in predictions_and_targets)
    expected = values_of(regression_measures(predictions[5:], targets[5:], ["width"]))
    targets[:5] = np.nan
    assert values_of(regression_measures(predictions, targets, ["width"])) == pytest.approx(expected)


def test_r2_of_a_constant_target_is_left_out():
    measures = regression_measures(np.arange(9.0)[:, None], np.full((9, 1), 0.1), ["width"])
    assert "r2" not in values_of(measures)


def test_median_of_weighted_examples():
    values, weights = np.array([5.0, 1, 9, np.nan]), np.array([[1, 1, 0, 5], [1, 3, 0, 0], [2, 1, 1, 1], [0, 0, 0, 1]])
    medians = median_measure("median", values).statistics(weights.astype(float))[:, 0]
    assert medians == pytest.approx(np.array([3, 1, 5, np.nan]), nan_ok=True)
