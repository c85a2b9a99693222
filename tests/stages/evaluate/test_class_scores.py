"""Variance and bias of means over the classes, against calculations without a short cut."""

import numpy as np
import pytest
import torch

from leyden.stages.evaluate.class_scores import (
    CLASS_METRICS,
    bias_range,
    count_cells,
    count_classes,
    effective_size,
    leave_one_out,
    score_classes,
)
from leyden.statistics.jackknife import jackknife_variance
from tests.stages.evaluate.fake_predictions import make_predictions


def draw(count: int, num_classes: int):
    generator = torch.Generator().manual_seed(count)
    labels = torch.randint(0, num_classes, (count,), generator=generator)
    logits = torch.randn(count, num_classes, generator=generator)
    return make_predictions(logits.softmax(1), labels)


@pytest.mark.parametrize("metric", CLASS_METRICS)
@pytest.mark.parametrize("count", [9, 60])
def test_scores_without_an_example_are_those_of_the_others(metric, count):
    """9 examples of 7 classes: leaving one out can remove a class, or the only prediction of one."""
    predictions = draw(count, 7)
    cells = count_cells(predictions)
    left_out = leave_one_out(CLASS_METRICS[metric], count_classes(cells, 7), cells)
    for row in range(count):
        others = torch.arange(count) != row
        cell = (cells.actual == predictions.labels[row]) & (cells.predicted == predictions.predicted[row])
        expected = score_classes(
            make_predictions(predictions.log_probabilities[others].exp(), predictions.labels[others])
        )
        assert float(left_out[cell]) == pytest.approx(expected[metric].value)


def test_the_variance_of_a_mean_is_the_usual_one():
    values = np.random.default_rng(0).standard_normal(30)
    left_out = (values.sum() - values) / 29
    assert jackknife_variance(left_out) == pytest.approx(values.var(ddof=1) / 30)
    halves = jackknife_variance(np.array([0.1, 0.4]), np.array([3, 2]))
    assert halves == pytest.approx(jackknife_variance(np.array([0.1] * 3 + [0.4] * 2)))


def test_the_bias_range_contains_the_bias_of_random_and_of_stratified_samples():
    """50 classes, 4 examples of each on average, 80% correct: macro F1 is too low, macro precision too high or low."""
    num_classes, per_class, generator = 50, 4, np.random.default_rng(0)
    biases: dict[tuple[str, bool], list[float]] = {}
    ranges: dict[str, list[tuple[float, float]]] = {}
    for is_stratified in (False, True):
        for _ in range(40):
            labels = (
                np.repeat(np.arange(num_classes), per_class)
                if is_stratified
                else generator.integers(num_classes, size=num_classes * per_class)
            )
            is_correct = generator.random(len(labels)) < 0.8
            others = (labels + generator.integers(1, num_classes, size=len(labels))) % num_classes
            predicted = torch.from_numpy(np.where(is_correct, labels, others))
            predictions = make_predictions(torch.eye(num_classes)[predicted] * 0.9 + 0.001, torch.from_numpy(labels))
            for name, score in score_classes(predictions).items():
                biases.setdefault((name, is_stratified), []).append(score.value - 0.8)  # all are 0.8 in the long run
                ranges.setdefault(name, []).append(score.bias)
    assert np.mean(biases["macro_f1", False]) < -0.015
    assert np.mean(biases["macro_precision", True]) > 0.01
    for (name, _), values in biases.items():
        low, high = np.mean(ranges[name], axis=0)
        error = 2 * np.std(values) / len(values) ** 0.5
        # The range is of first order in 1 / 4: what is beyond it is at most half as much.
        assert 1.5 * low - error <= np.mean(values) <= 1.5 * high + error, name


def test_many_examples_have_no_bias():
    labels = torch.arange(4).repeat(5000)
    predicted = torch.where(torch.arange(20_000) % 7 == 0, (labels + 1) % 4, labels)
    counts = count_classes(count_cells(make_predictions(torch.eye(4)[predicted] * 0.9 + 0.02, labels)), 4)
    assert all(np.abs(bias_range(metric, counts)).max() < 1e-3 for metric in CLASS_METRICS.values())
    assert effective_size(counts) == pytest.approx(20_000)
