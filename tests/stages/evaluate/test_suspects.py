"""Planted wrong labels are suspected; a model that knows too little suspects none, and the number is bounded."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leyden.stages.evaluate.suspects import SUSPECT_COLUMNS, beats_constant_guess, count_expected, list_suspects
from tests.stages.evaluate.fake_predictions import make_predictions


def simulate(num_examples: int, scale: float, noise_fraction: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw calibrated probabilities of 5 classes, labels of which a fraction is replaced, and which ones are."""
    generator = torch.Generator().manual_seed(0)
    probabilities = (scale * torch.randn(num_examples, 5, generator=generator)).softmax(dim=1)
    labels = probabilities.multinomial(1, generator=generator)[:, 0]
    is_wrong = torch.rand(num_examples, generator=generator) < noise_fraction
    return probabilities, torch.where(is_wrong, (labels + 1) % 5, labels), is_wrong


@pytest.mark.parametrize("scale", [1, 4])
def test_a_calibrated_model_expects_hardly_a_wrong_label_among_right_ones(scale: float) -> None:
    probabilities, labels, _ = simulate(1000, scale, 0)
    suspects = list_suspects(make_predictions(probabilities, labels), "test", 0.95)
    assert len(suspects) >= 20
    assert count_expected(suspects) <= 5


@pytest.mark.parametrize("sharpness", [1.5, 2.5])
def test_an_overconfident_model_expects_hardly_a_wrong_label_among_right_ones(sharpness: float) -> None:
    """Its errors look like wrong labels: it is as sure of them as of what it gets right."""
    probabilities, labels, _ = simulate(1000, 4, 0)
    sharpened = (sharpness * probabilities.clamp(min=1e-12).log()).softmax(dim=1)
    suspects = list_suspects(make_predictions(sharpened, labels), "test", 0.95)
    assert len(suspects) >= 20
    assert count_expected(suspects) <= 5


def test_the_expected_number_of_wrong_labels_is_about_that_of_the_planted_ones() -> None:
    probabilities, labels, is_wrong = simulate(1000, 8, 0.05)
    suspects = list_suspects(make_predictions(probabilities, labels), "test", 0.95)
    assert all(tuple(row) == SUSPECT_COLUMNS for row in suspects)
    assert count_expected(suspects) == pytest.approx(int(is_wrong.sum()), rel=0.35)


def test_a_model_no_better_than_a_constant_guess_suspects_nothing() -> None:
    """Of 132 examples, a model near chance disagrees with most."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (132,), generator=generator)
    logits = 0.1 * F.one_hot(labels, 5) + torch.randn(132, 5, generator=generator)
    predictions = make_predictions(logits.softmax(1), labels)
    assert not beats_constant_guess(predictions, 0.95)
    assert list_suspects(predictions, "test", 0.95) == []


def test_planted_wrong_labels_are_suspected():
    generator = torch.Generator().manual_seed(0)
    true_labels = torch.randint(0, 3, (300,), generator=generator)
    logits = 4 * F.one_hot(true_labels, 3) + torch.randn(300, 3, generator=generator)
    labels = true_labels.clone()
    labels[:20] = (labels[:20] + 1) % 3
    rows = list_suspects(make_predictions(logits.softmax(1), labels), "test", 0.95)
    suspected = {int(row["path"].removesuffix(".png")) for row in rows}
    assert len(suspected & set(range(20))) >= 12
    assert len(suspected - set(range(20))) <= 3
    assert all(row["suggested"] == "abc"[true_labels[int(row["path"][:-4])]] for row in rows[:10])
    assert rows[0]["split"] == "test"
    margins = [float(row["suggested_probability"]) - float(row["label_probability"]) for row in rows]
    assert margins == sorted(margins, reverse=True)


def test_a_prediction_below_the_mean_confidence_of_its_class_is_no_suspicion():
    """Thresholds are each class's own: half confidence is much for a class of low confidence, and little for others."""
    probabilities = torch.tensor([[0.99, 0.01, 0.0]] * 5 + [[0.3, 0.4, 0.3]] * 5 + [[0.55, 0.45, 0.0]])
    labels = torch.tensor([0] * 5 + [1] * 5 + [1])
    assert list_suspects(make_predictions(probabilities.clamp(min=1e-6), labels), "val", 0.95) == []
