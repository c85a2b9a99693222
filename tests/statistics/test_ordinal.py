"""Measures of ordinal classification agree with scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.ordinal import ordinal_measures, quadratic_kappa


def values_of(predicted, actual, num_classes):
    measures = ordinal_measures(predicted, actual, num_classes)
    return {name: estimate.value for name, estimate in bootstrap_intervals(measures, 0.95, 200).items()}


@pytest.mark.parametrize("missing", [None, 0, 2])
def test_measures_agree_with_scikit_learn(missing):
    generator = np.random.default_rng(0)
    actual = generator.integers(0, 5, size=300)
    actual = actual[actual != missing]
    predicted = np.clip(actual + generator.integers(-2, 3, size=len(actual)), 0, 4)
    assert values_of(predicted, actual, 5) == pytest.approx(
        {
            "quadratic_kappa": metrics.cohen_kappa_score(actual, predicted, weights="quadratic", labels=range(5)),
            "mean_absolute_grade_error": metrics.mean_absolute_error(actual, predicted),
            "within_one_accuracy": (abs(actual - predicted) <= 1).mean(),
        }
    )


def test_kappa_of_weighted_examples_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    predicted, actual, weights = generator.integers(0, 4, size=(3, 60))
    kappa = quadratic_kappa(predicted, actual)
    expected = metrics.cohen_kappa_score(actual, predicted, weights="quadratic", sample_weight=weights)
    assert kappa.combine(weights @ kappa.statistics) == pytest.approx(expected)


def test_grades_of_an_unsigned_type():
    assert values_of(np.array([0, 3], dtype=np.uint8), np.array([3, 0], dtype=np.uint8), 4) == {
        "quadratic_kappa": -1,
        "mean_absolute_grade_error": 3,
        "within_one_accuracy": 0,
    }


def test_kappa_of_a_single_grade_is_left_out():
    assert "quadratic_kappa" not in values_of(np.full(30, 2), np.full(30, 2), 4)


def test_within_one_grade_says_nothing_of_two_grades():
    assert "within_one_accuracy" not in values_of(np.arange(8) % 2, np.arange(8) // 4, 2)
