"""Every headline figure is right, against torchmetrics or by hand; and its interval holds the truth about as often as it says."""

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

from leyden.stages.evaluate.metrics import columns_of, draw, figures_of, intervals_of, score, total
from leyden.stages.evaluate.predictions import Predictions


def make(probabilities: torch.Tensor, labels: torch.Tensor) -> Predictions:
    names = [f"class {number}" for number in range(probabilities.shape[1])]
    return Predictions([str(number) for number in range(len(labels))], names, labels, probabilities.log())


def random_predictions(count: int, num_classes: int, seed: int, skill: float = 1.5) -> Predictions:
    """Draw labels, and logits that know a little of them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (count,), generator=generator)
    logits = torch.randn(count, num_classes, generator=generator) + skill * torch.nn.functional.one_hot(
        labels, num_classes
    )
    return make(logits.softmax(dim=1), labels)


def test_figures_of_four_examples_by_hand():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    figures = score(make(probabilities, torch.tensor([0, 1, 1, 2])), top_k=2)
    assert figures["accuracy"] == 0.75 and figures["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert figures["macro_precision"] == pytest.approx((0.5 + 1 + 1) / 3) and figures["macro_f1"] == pytest.approx(
        (2 / 3 + 2 / 3 + 1) / 3
    )
    assert figures["top_2_accuracy"] == 1
    assert figures["log_loss"] == pytest.approx(-np.log([0.7, 0.6, 0.3, 0.6]).mean())
    assert figures["brier_score"] == pytest.approx((0.14 + 0.26 + 0.78 + 0.24) / 4)
    assert figures["calibration_error"] == pytest.approx((0.3 + 0.5 + 0.8) / 4)  # bins of 0.5; twice 0.6; 0.7
    assert figures["auroc"] == pytest.approx((1 + 1 + 1) / 3)


def test_auroc_counts_ties_half():
    probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [0.2, 0.8]])
    assert score(make(probabilities, torch.tensor([0, 0, 1, 1])), 1)["auroc"] == pytest.approx((1 + 1 + 0.5 + 1) / 4)


@pytest.mark.parametrize(("count", "num_classes"), [(500, 7), (40, 3), (300, 2)])
def test_figures_agree_with_torchmetrics(count, num_classes):
    found = random_predictions(count, num_classes, seed=count)
    figures, scores, labels = score(found, top_k=2), found.probabilities, found.labels
    assert figures["accuracy"] == pytest.approx(
        float(multiclass_accuracy(scores, labels, num_classes, average="micro"))
    )
    assert figures["balanced_accuracy"] == pytest.approx(
        float(multiclass_accuracy(scores, labels, num_classes, average="macro"))
    )
    assert figures["macro_precision"] == pytest.approx(
        float(multiclass_precision(scores, labels, num_classes, average="macro"))
    )
    assert figures["macro_f1"] == pytest.approx(
        float(multiclass_f1_score(scores, labels, num_classes, average="macro"))
    )
    assert figures["auroc"] == pytest.approx(float(multiclass_auroc(scores, labels, num_classes)), abs=1e-6)
    assert figures["calibration_error"] == pytest.approx(
        float(multiclass_calibration_error(scores, labels, num_classes, n_bins=10)), abs=1e-6
    )
    assert figures["log_loss"] == pytest.approx(float(torch.nn.functional.nll_loss(found.log_probabilities, labels)))
    assert figures["top_2_accuracy"] == pytest.approx(
        float((scores.topk(2).indices == labels[:, None]).any(1).float().mean())
    )


def test_what_is_resampled_is_what_is_scored():
    found = random_predictions(200, 5, seed=1)
    summed = {name: float(value) for name, value in figures_of(total(columns_of(found, 3))).items()}
    scored = score(found, 3)
    assert summed.pop("top_accuracy") == pytest.approx(scored.pop("top_3_accuracy")) and summed == pytest.approx(
        scored, abs=1e-6
    )


def test_a_class_that_is_not_there_does_not_enter_the_means():
    scores = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    figures = score(make(scores, torch.tensor([0, 1, 0, 1])), 2)
    assert figures["balanced_accuracy"] == figures["macro_f1"] == figures["macro_precision"] == figures["auroc"] == 1


def test_figures_of_resamples_are_those_of_the_drawn_examples():
    """Each draw is made again by hand; AUROC, linear in the draw's weights, comes near."""
    found = random_predictions(120, 4, seed=2)
    draws = draw([columns_of(found, 2)], 30, seed=5)[0]
    generator = np.random.default_rng(5)
    for number, rows in enumerate(generator.integers(120, size=(30, 120))):
        again = score(make(found.probabilities[rows], found.labels[rows]), 2)
        for name, value in again.items():
            drawn = float(draws["top_accuracy" if name == "top_2_accuracy" else name][number])
            assert drawn == pytest.approx(value, abs=8e-3 if name == "auroc" else 1e-5), name


def test_the_auroc_of_resamples_spreads_as_the_exact_one():
    found = random_predictions(150, 3, seed=3)
    exact = []
    generator = np.random.default_rng(0)
    for rows in generator.integers(150, size=(400, 150)):
        exact.append(float(multiclass_auroc(found.probabilities[rows], found.labels[rows], 3)))
    linear = draw([columns_of(found, 2)], 400, seed=0)[0]["auroc"].numpy()
    assert np.quantile(linear, [0.025, 0.975]) == pytest.approx(np.quantile(exact, [0.025, 0.975]), abs=2e-3)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """The truth is the figure of a large sample; here 90% intervals of 150 examples, 100 times."""
    large = score(random_predictions(200_000, 3, seed=9), 2)
    names = [name for name in large if name != "calibration_error"]
    hits = dict.fromkeys(names, 0)
    for trial in range(100):
        found = random_predictions(150, 3, seed=1000 + trial)
        bounds = intervals_of(found, score(found, 2), 2, 300, 0.9, trial)
        for name in names:
            hits[name] += bounds[f"{name}_low"] <= large[name] <= bounds[f"{name}_high"]
    assert all(80 <= count <= 99 for count in hits.values()), hits


@pytest.mark.parametrize("sharper", [1.0, 2.0])
def test_the_interval_of_the_calibration_error_holds_the_truth_also_where_it_is_0(sharper):
    """Logits of a softmax model that labels are drawn from; sharpened, it is surer than right."""

    def sample(count: int, seed: int) -> Predictions:
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(count, 3, generator=generator)
        labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        return make((sharper * logits).softmax(1), labels)

    truth, hits = score(sample(200_000, 0), 2)["calibration_error"], 0
    assert truth < 0.01 if sharper == 1 else truth > 0.05
    for trial in range(100):
        found = sample(200, 1 + trial)
        figures = score(found, 2)
        bounds = intervals_of(found, figures, 2, 300, 0.9, trial)
        hits += bounds["calibration_error_low"] <= truth <= bounds["calibration_error_high"]
        assert bounds["calibration_error_low"] <= figures["calibration_error"] <= bounds["calibration_error_high"]
    assert hits >= 80


def test_a_perfect_score_still_has_a_lower_bound():
    found = make(torch.tensor([[0.9, 0.1], [0.2, 0.8]] * 50), torch.tensor([0, 1] * 50))
    bounds = intervals_of(found, score(found, 1), 1, 200, 0.95, 0)
    assert bounds["accuracy_low"] == bounds["top_1_accuracy_low"] == pytest.approx(0.963, abs=1e-3) and bounds[
        "accuracy_high"
    ] == pytest.approx(1)
    assert 0.1 < bounds["log_loss_low"] < bounds["log_loss_high"] < 0.23 and "macro_f1_low" not in bounds


def test_same_seed_same_interval():
    found = random_predictions(60, 3, seed=0)
    first, again, other = (intervals_of(found, score(found, 2), 2, 100, 0.95, seed) for seed in (1, 1, 2))
    assert first == again != other
