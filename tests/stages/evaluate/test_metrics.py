"""Metrics agree with torchmetrics or a calculation by hand, and lie in their intervals."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
)

from leyden.stages.evaluate.metrics import metrics_with_intervals
from leyden.stages.evaluate.predictions import Predictions
from tests.stages.evaluate.fake_predictions import make_predictions

METRICS = (
    *("accuracy", "balanced_accuracy", "macro_precision", "macro_f1", "top_2_accuracy"),
    *("auroc", "log_loss", "brier_score", "calibration_error"),
)


def score(predictions: Predictions, top_k: int = 2, seed: int = 0) -> dict[str, float]:
    return metrics_with_intervals(predictions, top_k, 200, 0.95, seed)


def random_predictions(count: int, num_classes: int, seed: int, skill: float = 1.5) -> Predictions:
    """Draw labels, and logits that are larger for the label by `skill`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (count,), generator=generator)
    logits = torch.randn(count, num_classes, generator=generator) + skill * torch.nn.functional.one_hot(
        labels, num_classes
    )
    return make_predictions(logits.softmax(dim=1), labels)


def test_metrics_of_four_examples_by_hand():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    metrics = score(make_predictions(probabilities, torch.tensor([0, 1, 1, 2])))
    assert metrics["accuracy"] == 0.75
    assert metrics["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert metrics["macro_precision"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert metrics["top_2_accuracy"] == 1
    assert metrics["log_loss"] == pytest.approx(-np.log([0.7, 0.6, 0.3, 0.6]).mean())
    assert metrics["brier_score"] == pytest.approx((0.14 + 0.26 + 0.78 + 0.24) / 4)
    assert metrics["calibration_error"] == pytest.approx((0.3 + 0.5 + 0.8) / 4)  # bins: 0.5; 0.6 twice; 0.7
    assert metrics["auroc"] == pytest.approx((1 + 1 + 1) / 3)


def test_auroc_counts_ties_half():
    probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [0.2, 0.8]])
    metrics = score(make_predictions(probabilities, torch.tensor([0, 0, 1, 1])))
    assert metrics["auroc"] == pytest.approx((1 + 1 + 0.5 + 1) / 4)


@pytest.mark.parametrize(("count", "num_classes"), [(500, 7), (40, 3), (300, 2)])
def test_metrics_agree_with_torchmetrics_and_scikit_learn(count, num_classes, monkeypatch):
    monkeypatch.setattr("leyden.stages.evaluate.predictions.PROBABILITIES_PER_BLOCK", 64)
    monkeypatch.setattr("leyden.stages.evaluate.auroc.SCORES_PER_BLOCK", 2 * count)
    predictions = random_predictions(count, num_classes, seed=count)
    top_k = min(2, num_classes - 1)
    metrics, scores, labels = score(predictions, top_k), predictions.log_probabilities.exp(), predictions.labels
    assert metrics["accuracy"] == pytest.approx(
        float(multiclass_accuracy(scores, labels, num_classes, average="micro"))
    )
    assert metrics["balanced_accuracy"] == pytest.approx(
        float(multiclass_accuracy(scores, labels, num_classes, average="macro"))
    )
    assert metrics["macro_precision"] == pytest.approx(
        float(multiclass_precision(scores, labels, num_classes, average="macro"))
    )
    assert metrics["macro_f1"] == pytest.approx(
        float(multiclass_f1_score(scores, labels, num_classes, average="macro"))
    )
    assert metrics["auroc"] == pytest.approx(float(multiclass_auroc(scores, labels, num_classes)), abs=1e-6)
    assert metrics["calibration_error"] == pytest.approx(
        float(multiclass_calibration_error(scores, labels, num_classes, n_bins=10)), abs=1e-6
    )
    precise, classes = predictions.log_probabilities.double().softmax(dim=1), range(num_classes)
    assert metrics["log_loss"] == pytest.approx(log_loss(labels, precise, labels=classes), rel=1e-6)
    assert metrics["brier_score"] == pytest.approx(
        brier_score_loss(labels, precise, labels=classes, scale_by_half=False), rel=1e-6
    )
    assert metrics[f"top_{top_k}_accuracy"] == pytest.approx(
        float(multiclass_accuracy(scores, labels, num_classes, average="micro", top_k=top_k))
    )


def test_a_class_without_examples_does_not_enter_the_means():
    scores = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    metrics = score(make_predictions(scores, torch.tensor([0, 1, 0, 1])))
    assert metrics["balanced_accuracy"] == metrics["macro_f1"] == metrics["macro_precision"] == metrics["auroc"] == 1


@pytest.mark.parametrize("skill", [0.5, 1.5, 4.0])
@pytest.mark.parametrize("count", [12, 200])
def test_every_metric_lies_in_its_interval(count, skill):
    metrics = score(random_predictions(count, 5, seed=count, skill=skill))
    for name in METRICS:
        assert 0 <= metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"], name
        assert metrics[f"{name}_low"] < metrics[f"{name}_high"], name


def test_a_perfect_score_still_has_a_lower_bound():
    metrics = score(make_predictions(torch.tensor([[0.9, 0.1], [0.2, 0.8]] * 50), torch.tensor([0, 1] * 50)))
    for name in ("accuracy", "balanced_accuracy", "macro_precision", "macro_f1", "auroc"):
        assert metrics[f"{name}_low"] == pytest.approx(0.963, abs=1e-3), name
        assert metrics[f"{name}_high"] == pytest.approx(1), name
    assert 0.1 < metrics["log_loss_low"] < metrics["log_loss"] < metrics["log_loss_high"] < 0.4


@pytest.mark.parametrize("labels", [[0, 1], [1, 0], [0, 0, 1]])
def test_no_interval_exceeds_what_a_score_can_be(labels):
    metrics = score(
        make_predictions(torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])[: len(labels)], torch.tensor(labels))
    )
    assert metrics["calibration_error_high"] <= 1
    assert metrics["brier_score_high"] <= 2


def test_the_label_is_always_among_the_top_k_of_k_classes():
    scores = torch.full((9, 3), 1 / 3)
    labels = torch.arange(9) % 3
    assert "top_2_accuracy" in score(make_predictions(scores, labels), top_k=2)
    assert not any(name.startswith("top_3") for name in score(make_predictions(scores, labels), top_k=3))


def test_a_small_class_without_errors_widens_the_interval():
    """1,000 examples of one class say little about a mean with the recall of another that has 10."""
    predicted = torch.tensor([0] * 990 + [1] * 10 + [1] * 10)
    labels = torch.tensor([0] * 1000 + [1] * 10)
    metrics = score(make_predictions(torch.eye(2)[predicted] * 0.9 + 0.05, labels))
    assert metrics["balanced_accuracy"] == pytest.approx(0.995)
    assert metrics["balanced_accuracy_low"] < 0.93


def test_intervals_depend_on_the_seed_alone():
    predictions = random_predictions(60, 3, seed=0)
    assert score(predictions, seed=1) == score(predictions, seed=1)
    assert score(predictions, seed=1) != score(predictions, seed=2)
