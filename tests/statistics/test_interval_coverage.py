"""How often the intervals of measures, and of their changes, contain the true value, in simulated test splits."""

import numpy as np
import pytest

from leyden.statistics.bootstrap import bootstrap_intervals, paired_bootstrap
from leyden.statistics.measures import mean_measure
from leyden.statistics.multilabel import multilabel_measures, per_label_measures
from leyden.statistics.ordinal import quadratic_kappa
from leyden.statistics.regression import regression_measures
from leyden.statistics.segmentation import segmentation_measures


def lognormal_mean(generator, count):
    return [mean_measure("mean", generator.lognormal(size=count), False, bounds=(0, np.inf))]


def regression(generator, count):
    targets = generator.normal(size=(count, 1))
    return regression_measures(targets + 0.4 * generator.standard_t(6, size=(count, 1)), targets, ["width"])


def multilabel(generator, count):
    targets = generator.random((count, 4)) < [0.5, 0.3, 0.2, 0.1]
    scores = generator.normal(2 * targets, 1)
    predicted = scores > 1.2
    return [
        *multilabel_measures(scores, predicted, targets),
        *per_label_measures(scores, predicted, targets, ["half", "third", "fifth", "tenth"]),
    ]


def segmentation(generator, count):
    actual = generator.lognormal(3, 1, size=(count, 3)) * (generator.random((count, 3)) < [1, 0.7, 0.4])
    intersection = actual * generator.beta(8, 2, size=(count, 3))
    predicted = intersection + actual * generator.beta(2, 8, size=(count, 3))
    return segmentation_measures(intersection, predicted, actual, ["road", "car", "sign"])


def kappa(generator, count):
    actual = generator.integers(0, 5, size=count)
    return [quadratic_kappa(np.clip(np.round(actual + generator.normal(0, 0.9, size=count)), 0, 4), actual)]


CASES = {case.__name__: case for case in (lognormal_mean, regression, multilabel, segmentation, kappa)}


def coverage(case, count, num_splits, num_resamples=600):
    """Return the fraction of simulated splits whose interval at 95% contains the true value, by measure."""
    large = CASES[case](np.random.default_rng(10**6), 400_000)
    truth = {name: estimate.value for name, estimate in bootstrap_intervals(large, 0.95, 1).items()}
    covered = {name: [] for name in truth}
    for seed in range(num_splits):
        measures = CASES[case](np.random.default_rng(seed), count)
        for name, (_, low, high) in bootstrap_intervals(measures, 0.95, num_resamples, seed).items():
            covered[name].append(low <= truth[name] <= high)
    return {name: float(np.mean(results)) for name, results in covered.items()}


@pytest.mark.parametrize("case", ["lognormal_mean", "regression", "segmentation", "kappa"])
def test_intervals_of_60_examples_contain_the_true_value(case):
    assert min(coverage(case, 60, num_splits=60, num_resamples=300).values()) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("count", [40, 100, 400])
@pytest.mark.parametrize("case", CASES)
def test_intervals_contain_the_true_value_in_about_95_of_100_splits(case, count):
    assert min(coverage(case, count, num_splits=400).values()) >= 0.88


def two_models(generator, count):
    """Return measures of two models that are equally good, and make partly the same errors."""
    targets = generator.random((count, 2)) < [0.3, 0.1]
    shared = generator.normal(size=(count, 2))
    models = []
    for _ in range(2):
        noise = 0.8 * shared + 0.6 * generator.normal(size=(count, 2))
        multilabel = multilabel_measures(2.5 * targets + noise, 2.5 * targets + noise > 1.5, targets)
        models.append([*multilabel, mean_measure("mean", np.exp(noise[:, 0]), False, bounds=(0, np.inf))])
    return models


def false_positive_fractions(count, num_splits):
    """Return the fraction of splits on which two equally good models differ with a p-value below 0.05, by measure."""
    p_values = {}
    for seed in range(num_splits):
        changes = paired_bootstrap(*two_models(np.random.default_rng(seed), count), 0.95, 400, seed)
        for name, change in changes.items():
            assert (change.p_value < 0.05) == (not change.low <= 0 <= change.high) or name == "exact_match"
            p_values.setdefault(name, []).append(change.p_value)
    return {name: float(np.mean(np.array(values) < 0.05)) for name, values in p_values.items()}


def test_equally_good_models_seldom_differ():
    assert max(false_positive_fractions(60, num_splits=60).values()) <= 0.12


@pytest.mark.slow
@pytest.mark.parametrize("count", [40, 100, 400])
def test_equally_good_models_differ_in_about_5_of_100_splits(count):
    assert max(false_positive_fractions(count, num_splits=400).values()) <= 0.08
