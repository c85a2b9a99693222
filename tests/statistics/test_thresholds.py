"""Thresholds that maximise F1."""

import numpy as np
import pytest

from leyden.statistics.thresholds import choose_threshold


def example_scores(count, fraction, seed):
    """Draw targets and calibrated scores of a useful but imperfect model."""
    generator = np.random.default_rng(seed)
    targets = generator.random(count) < fraction
    logits = 2 * (generator.normal(size=count) + 2 * (targets - 0.5)) + np.log(fraction / (1 - fraction))
    return 1 / (1 + np.exp(-logits)), targets


def f1_at(thresholds, scores, targets):
    """Return F1 at each threshold, (T,)."""
    is_predicted = scores >= np.asarray(thresholds)[:, None]
    return 2 * (is_predicted & targets).sum(axis=1) / (is_predicted.sum(axis=1) + targets.sum())


def test_threshold_is_nearly_the_best_for_new_examples():
    threshold = choose_threshold(*example_scores(1000, 0.05, seed=0))
    f1 = f1_at([threshold, *np.linspace(0.05, 0.95, 46)], *example_scores(100_000, 0.05, seed=1))
    assert f1[0] == pytest.approx(f1.max(), abs=0.01)


def test_threshold_of_few_positives_is_better_for_new_examples_than_the_best_one_of_these():
    new, gains = example_scores(20_000, 0.05, seed=1), []
    for seed in range(2, 42):
        scores, targets = example_scores(60, 0.05, seed)
        searched = scores[f1_at(scores, scores, targets).argmax()]
        f1 = f1_at([choose_threshold(scores, targets), searched], *new)
        gains.append(f1[0] - f1[1])
    assert np.mean(gains) > 0.01


def test_threshold_separates_examples_that_can_be_separated():
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9] * 5)
    assert choose_threshold(scores, scores > 0.5) == pytest.approx(0.5, abs=0.01)


def test_threshold_of_a_single_positive_example_is_half_way_to_the_next_score():
    scores = np.linspace(0.9, 0.1, 17)
    assert choose_threshold(scores, np.arange(17) == 4) == pytest.approx(0.675)


def test_examples_of_equal_scores_are_predicted_alike():
    scores, targets = np.array([0.9] * 20 + [0.6] * 2 + [0.2] * 20), np.array([True] * 2 + [False] * 38 + [False] * 2)
    targets[20:22] = True
    assert choose_threshold(scores, targets) < 0.6


@pytest.mark.parametrize("targets", [[False] * 4, [True] * 4, []])
def test_threshold_without_examples_of_both_kinds(targets):
    assert choose_threshold(np.linspace(0, 1, len(targets)), targets) == 0.5


def test_threshold_of_saturated_scores_lies_inside_0_to_1():
    assert 0 < choose_threshold([1.0, 1, 1, 0], [True, True, False, False]) < 1
    assert 0 < choose_threshold([0.0, 0, 0, 0], [True, True, False, False]) < 1
