"""Measures of multi-label classification agree with scikit-learn, on weighted examples too."""

import numpy as np
import pytest
from sklearn import metrics

from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.multilabel import average_precisions, multilabel_measures, per_label_measures

NAMES = ("cat", "dog", "rare", "none")


@pytest.fixture(params=[1, 8])
def example_labels(request):
    """Scores, with few distinct values in one case, predictions and targets; no example has the last label."""
    generator = np.random.default_rng(request.param)
    targets = generator.random((200, 4)) < [0.5, 0.2, 0.02, 0]
    scores = 1 / (1 + np.exp(-generator.normal(1.5 * targets - 1, 1)))
    scores = np.round(scores * request.param) / request.param if request.param > 1 else scores
    predicted = scores > 0.5
    predicted[:, 3] = False
    return scores, predicted, targets


def test_measures_agree_with_scikit_learn(example_labels):
    scores, predicted, targets = example_labels
    estimates = bootstrap_intervals(multilabel_measures(scores, predicted, targets), 0.95, 200)
    values = {name: estimate.value for name, estimate in estimates.items()}
    assert values == pytest.approx(
        {
            "mean_average_precision": metrics.average_precision_score(targets[:, :3], scores[:, :3], average="macro"),
            "macro_f1": metrics.f1_score(targets[:, :3], predicted[:, :3], average="macro"),
            "micro_f1": metrics.f1_score(targets, predicted, average="micro"),
            "exact_match": metrics.accuracy_score(targets, predicted),
            "hamming_loss": metrics.hamming_loss(targets, predicted),
        }
    )
    assert all(estimate.low < estimate.value < estimate.high for estimate in estimates.values())


def test_each_labels_measures_agree_with_scikit_learn(example_labels):
    scores, predicted, targets = example_labels
    estimates = bootstrap_intervals(per_label_measures(scores, predicted, targets, NAMES), 0.95, 200)
    for index, name in enumerate(NAMES[:3]):
        label = targets[:, index], predicted[:, index]
        assert {metric: estimates[f"{metric}/{name}"].value for metric in ("precision", "recall", "f1")} == (
            pytest.approx(
                {
                    "precision": metrics.precision_score(*label),
                    "recall": metrics.recall_score(*label),
                    "f1": metrics.f1_score(*label),
                }
            )
        )
        expected = metrics.average_precision_score(targets[:, index], scores[:, index])
        assert estimates[f"average_precision/{name}"].value == pytest.approx(expected)
    assert not any(key.endswith("/none") for key in estimates)


def test_average_precision_of_weighted_examples_agrees_with_scikit_learn(example_labels):
    scores, _, targets = example_labels
    weights = np.random.default_rng(0).integers(0, 4, size=(3, 200)).astype(np.float64)
    values = average_precisions(scores, targets)(weights)
    assert values[:, :3] == pytest.approx(
        np.array(
            [
                [metrics.average_precision_score(targets[:, k], scores[:, k], sample_weight=row) for k in range(3)]
                for row in weights
            ]
        )
    )
    assert np.isnan(values[:, 3]).all()


def test_average_precision_of_scores_that_are_all_equal_is_the_fraction_of_positives():
    targets = np.arange(10)[:, None] < 3
    assert average_precisions(np.zeros((10, 1)), targets)(np.ones((1, 10))) == pytest.approx(0.3)


def test_a_perfect_score_has_an_interval():
    targets = np.random.default_rng(0).random((200, 3)) < 0.3
    estimates = bootstrap_intervals(multilabel_measures(targets.astype(float), targets, targets), 0.95, 200)
    assert {name: estimate.value for name, estimate in estimates.items()} == {
        "mean_average_precision": 1,
        "macro_f1": 1,
        "micro_f1": 1,
        "exact_match": 1,
        "hamming_loss": 0,
    }
    assert all(0.01 < estimate.high - estimate.low < 0.04 for estimate in estimates.values())


def test_scores_of_an_unsigned_type():
    targets = np.arange(12).reshape(6, 2) % 3 == 0
    scores = np.array([[3, 0], [2, 4], [0, 1], [9, 7], [5, 5], [1, 8]], dtype=np.uint8)
    arguments = [targets, targets]
    for measures in (multilabel_measures, lambda *args: per_label_measures(*args, ["a", "b"])):
        first, second = (bootstrap_intervals(measures(each, *arguments), 0.95, 50) for each in (scores, scores / 9))
        assert first == second


def test_groups_of_two_equal_examples_have_the_average_precision_of_one():
    targets = np.random.default_rng(0).random((40, 1)) < 0.4
    scores = np.random.default_rng(1).normal(targets)
    alone = bootstrap_intervals(multilabel_measures(scores, targets, targets), 0.95, 300)
    doubled = multilabel_measures(*(array.repeat(2, axis=0) for array in (scores, targets, targets)))
    grouped = bootstrap_intervals(doubled, 0.95, 300, groups=np.arange(40).repeat(2))
    assert tuple(grouped["mean_average_precision"]) == pytest.approx(tuple(alone["mean_average_precision"]))
