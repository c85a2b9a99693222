"""Metrics agree with torchmetrics or a calculation by hand; their intervals have about the nominal coverage."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
)

from leyden.stages.evaluate.metrics import (
    compute_intervals,
    compute_metrics,
    compute_terms,
    metrics_from_sums,
    resample_metrics,
    sum_terms,
)
from leyden.stages.evaluate.predictions import Predictions
from tests.stages.evaluate.fake_predictions import make_predictions


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
    metrics = compute_metrics(make_predictions(probabilities, torch.tensor([0, 1, 1, 2])), top_k=2)
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
    assert compute_metrics(make_predictions(probabilities, torch.tensor([0, 0, 1, 1])), 1)["auroc"] == pytest.approx(
        (1 + 1 + 0.5 + 1) / 4
    )


@pytest.mark.parametrize(("count", "num_classes"), [(500, 7), (40, 3), (300, 2)])
def test_metrics_agree_with_torchmetrics(count, num_classes):
    predictions = random_predictions(count, num_classes, seed=count)
    metrics, scores, labels = compute_metrics(predictions, top_k=2), predictions.probabilities, predictions.labels
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
    assert metrics["log_loss"] == pytest.approx(
        float(torch.nn.functional.nll_loss(predictions.log_probabilities, labels))
    )
    assert metrics["top_2_accuracy"] == pytest.approx(
        float((scores.topk(2).indices == labels[:, None]).any(1).float().mean())
    )


def test_metrics_of_the_summed_terms_are_the_metrics():
    predictions = random_predictions(200, 5, seed=1)
    from_sums = {
        name: float(value) for name, value in metrics_from_sums(sum_terms(compute_terms(predictions, 3)), 3).items()
    }
    assert from_sums == pytest.approx(compute_metrics(predictions, 3), abs=1e-6)


def test_a_class_without_examples_does_not_enter_the_means():
    scores = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    metrics = compute_metrics(make_predictions(scores, torch.tensor([0, 1, 0, 1])), 2)
    assert metrics["balanced_accuracy"] == metrics["macro_f1"] == metrics["macro_precision"] == metrics["auroc"] == 1


def test_metrics_of_resamples_are_those_of_the_drawn_examples():
    """Resamples are drawn again here; AUROC, linear in the weights of examples, is approximate."""
    predictions = random_predictions(120, 4, seed=2)
    resampled = resample_metrics(compute_terms(predictions, 2), 2, 30, seed=5)
    generator = np.random.default_rng(5)
    for number, rows in enumerate(generator.integers(120, size=(30, 120))):
        expected = compute_metrics(make_predictions(predictions.probabilities[rows], predictions.labels[rows]), 2)
        for name, value in expected.items():
            tolerance = 8e-3 if name == "auroc" else 1e-5
            assert float(resampled[name][number]) == pytest.approx(value, abs=tolerance), name


def test_the_auroc_of_resamples_varies_as_the_exact_one():
    predictions = random_predictions(150, 3, seed=3)
    exact = []
    generator = np.random.default_rng(0)
    for rows in generator.integers(150, size=(400, 150)):
        exact.append(float(multiclass_auroc(predictions.probabilities[rows], predictions.labels[rows], 3)))
    linear = resample_metrics(compute_terms(predictions, 2), 2, 400, seed=0)["auroc"].numpy()
    assert np.quantile(linear, [0.025, 0.975]) == pytest.approx(np.quantile(exact, [0.025, 0.975]), abs=2e-3)


def test_intervals_contain_the_true_value_about_as_often_as_their_level():
    """90% intervals of 150 examples, 100 times; the true value is that of a large sample."""
    large = compute_metrics(random_predictions(200_000, 3, seed=9), 2)
    names = [name for name in large if name != "calibration_error"]
    hits = dict.fromkeys(names, 0)
    for trial in range(100):
        predictions = random_predictions(150, 3, seed=1000 + trial)
        bounds = compute_intervals(predictions, compute_metrics(predictions, 2), 2, 300, 0.9, trial)
        for name in names:
            hits[name] += bounds[f"{name}_low"] <= large[name] <= bounds[f"{name}_high"]
    assert all(80 <= count <= 99 for count in hits.values()), hits


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_interval_of_the_calibration_error_contains_the_true_value_even_if_it_is_0(scale):
    """Labels are drawn from a softmax model; with its logits scaled by 2, it is overconfident."""

    def sample(count: int, seed: int) -> Predictions:
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(count, 3, generator=generator)
        labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        return make_predictions((scale * logits).softmax(1), labels)

    true_error, hits = compute_metrics(sample(200_000, 0), 2)["calibration_error"], 0
    assert true_error < 0.01 if scale == 1 else true_error > 0.05
    for trial in range(100):
        predictions = sample(200, 1 + trial)
        metrics = compute_metrics(predictions, 2)
        bounds = compute_intervals(predictions, metrics, 2, 300, 0.9, trial)
        hits += bounds["calibration_error_low"] <= true_error <= bounds["calibration_error_high"]
        assert bounds["calibration_error_low"] <= metrics["calibration_error"] <= bounds["calibration_error_high"]
    assert hits >= 80


def test_a_perfect_score_still_has_a_lower_bound():
    predictions = make_predictions(torch.tensor([[0.9, 0.1], [0.2, 0.8]] * 50), torch.tensor([0, 1] * 50))
    bounds = compute_intervals(predictions, compute_metrics(predictions, 1), 1, 200, 0.95, 0)
    assert bounds["accuracy_low"] == bounds["top_1_accuracy_low"] == pytest.approx(0.963, abs=1e-3)
    assert bounds["accuracy_high"] == pytest.approx(1)
    assert 0.1 < bounds["log_loss_low"] < bounds["log_loss_high"] < 0.23
    assert "macro_f1_low" not in bounds


def test_intervals_depend_on_the_seed_alone():
    predictions = random_predictions(60, 3, seed=0)
    first, same_seed, other_seed = (
        compute_intervals(predictions, compute_metrics(predictions, 2), 2, 100, 0.95, seed) for seed in (1, 1, 2)
    )
    assert first == same_seed
    assert first != other_seed
