"""Thresholds that maximise F1."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from leyden.statistics.thresholds import choose_threshold


def example_scores(count, fraction, seed):
    """Draw targets and calibrated scores of a useful but imperfect model."""
    generator = np.random.default_rng(seed)
    targets = generator.random(count) < fraction
    logits = 2 * (generator.normal(size=count) + 2 * (targets - 0.5)) + np.log(fraction / (1 - fraction))
    return 1 / (1 + np.exp(-logits)), targets


def test_threshold_is_nearly_the_best_for_new_examples():
    threshold = choose_threshold(*example_scores(1000, 0.05, seed=0))
    scores, targets = example_scores(100_000, 0.05, seed=1)
    best = max(f1_score(targets, scores >= candidate) for candidate in np.linspace(0.05, 0.95, 46))
    assert f1_score(targets, scores >= threshold) == pytest.approx(best, abs=0.01)


def test_threshold_of_few_positives_beats_the_best_threshold_of_these_examples():
    new_scores, new_targets = example_scores(20_000, 0.05, seed=1)
    bagged, searched = [], []
    for seed in range(30):
        scores, targets = example_scores(60, 0.05, seed=seed + 2)
        candidates = np.unique(scores)
        best = candidates[np.argmax([f1_score(targets, scores >= candidate) for candidate in candidates])]
        searched.append(f1_score(new_targets, new_scores >= best))
        bagged.append(f1_score(new_targets, new_scores >= choose_threshold(scores, targets)))
    assert np.mean(bagged) > np.mean(searched) + 0.01


def test_threshold_separates_examples_that_can_be_separated():
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9] * 5)
    assert 0.3 < choose_threshold(scores, scores > 0.5) < 0.7


@pytest.mark.parametrize("targets", [[False] * 4, [True] * 4, []])
def test_threshold_without_examples_of_both_kinds(targets):
    assert choose_threshold(np.linspace(0, 1, len(targets)), targets) == 0.5


def test_threshold_of_saturated_scores_lies_inside_0_to_1():
    assert 0 < choose_threshold([1.0, 1, 1, 0], [True, True, False, False]) < 1
    assert 0 < choose_threshold([0.0, 0, 0, 0], [True, True, False, False]) < 1
