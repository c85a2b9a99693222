"""Corruptions grow with their strength; attacks stay within their bounds, and lower the accuracy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import leyden
from leyden.data.packed import read_split
from leyden.outputs import load_reader
from leyden.stages.evaluate.attacks import ATTACKS, attack, from_pixels
from leyden.stages.evaluate.robustness import (
    CORRUPTIONS,
    mean_scores,
    measure_robustness,
    predict_changed,
    sample_examples,
)
from leyden.stages.evaluate.settings import Settings

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")


def measure_accuracies(model, kinds: list[str]) -> list[dict]:
    settings = Settings(robustness=kinds)
    return measure_robustness(model, load_reader(model.spec), Path("artifacts/prepare"), settings, CROSS_ENTROPY)


def predict(model, kind: str, strength: float, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the predicted classes of changed images."""
    outputs = predict_changed(model, kind, strength, pixels, targets, CROSS_ENTROPY)
    return torch.from_numpy(outputs).argmax(dim=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 40])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_grows_with_its_strength(kind, side, channels):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, channels, 4, 4, generator=generator)
    images = (255 * nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")).byte()
    changed = [CORRUPTIONS[kind].apply(images, strength) for strength in CORRUPTIONS[kind].strengths]
    assert all(each.dtype == torch.uint8 and each.shape == images.shape for each in changed)
    distances = [float((each.float() - images.float()).abs().mean()) for each in changed]
    assert distances[0] < distances[1] < distances[2]
    assert distances[2] > 1


class Linear(nn.Module):
    """Logits of two classes from the mean of the pixels; the larger the factor, the more confident."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        score = self.factor * (pixels.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-score, score], dim=1)


@pytest.mark.parametrize("kind", ATTACKS)
@pytest.mark.parametrize("factor", [1.0, 40.0])
def test_an_attack_moves_every_pixel_of_a_linear_model_even_if_it_is_confident(kind, factor):
    """At a factor of 40 the gradients are about 1e-7, which Captum by default treats as 0: no pixel would move."""
    pixels = torch.full((2, 1, 4, 4), 0.5) + torch.tensor([-0.2, 0.2]).view(2, 1, 1, 1)
    moved = attack(Linear(factor), kind, pixels, torch.tensor([0, 1]), 0.1, CROSS_ENTROPY)
    assert torch.allclose(moved - pixels, torch.tensor([0.1, -0.1]).view(2, 1, 1, 1).expand_as(pixels), atol=1e-6)


@pytest.mark.parametrize("kind", ATTACKS)
def test_attacked_pixels_stay_in_0_to_1(kind):
    moved = attack(
        Linear(1.0), kind, torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.tensor([1, 0]), 0.3, CROSS_ENTROPY
    )
    assert torch.allclose(moved.flatten(), torch.tensor([0.0, 1.0]))


def test_attacks_lower_the_accuracy_more_than_noise_of_the_same_size(in_trained):
    """With Captum's default loss, PGD would leave most digits correct; with a loss of logits it leaves almost none."""
    model = leyden.load("artifacts/train/model.ckpt")
    images, labels = read_split(Path("artifacts/prepare"), "test")
    pixels, targets = torch.from_numpy(images[:200].copy()).permute(0, 3, 1, 2), torch.from_numpy(labels[:200])
    accuracy = {kind: float((predict(model, kind, 0.1, pixels, targets) == targets).float().mean()) for kind in ATTACKS}
    noise = 0.1 * torch.sign(torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        predicted = from_pixels(model)((pixels / 255 + noise).clamp(0, 1)).argmax(1)
        noise_accuracy = float((predicted == targets).float().mean())
    assert noise_accuracy > 0.8
    assert accuracy["pgd"] <= accuracy["fgsm"] < noise_accuracy - 0.2
    assert accuracy["pgd"] < noise_accuracy - 0.3
    state = torch.get_rng_state()
    assert float((predict(model, "pgd", 0.1, pixels, targets) == targets).float().mean()) == accuracy["pgd"]
    assert torch.equal(torch.get_rng_state(), state)


def test_each_kind_has_an_accuracy_per_strength_and_a_mean(in_trained):
    model = leyden.load("artifacts/train/model.ckpt")
    rows = measure_accuracies(model, ["noise", "fgsm"])
    assert [(row["kind"], row["strength"]) for row in rows] == [("noise", s) for s in (0.05, 0.1, 0.2)] + [
        ("fgsm", s) for s in (0.01, 0.03, 0.1)
    ]
    assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in rows)
    assert all(row["examples"] == 350 for row in rows)
    assert mean_scores(rows, "accuracy")["fgsm_accuracy"] == pytest.approx(sum(row["accuracy"] for row in rows[3:]) / 3)


def test_a_sample_is_random_and_has_every_class_in_proportion():
    """Also of a split that is ordered by class, and within each class by something else."""
    labels = np.repeat([0, 1, 2], [5000, 4000, 1000])
    rows = sample_examples(labels, 512, seed=0)
    assert len(set(rows)) == 512
    assert np.abs(np.bincount(labels[rows]) - [256, 204.8, 51.2]).max() <= 1
    assert np.bincount(rows % 10, minlength=10).min() > 25  # evenly spaced rows would have few remainders
    assert list(rows) == list(sample_examples(labels, 512, seed=0)) != list(sample_examples(labels, 512, seed=1))
    assert list(sample_examples(labels[:400], 512, seed=0)) == list(range(400))


def test_robustness_takes_a_sample_and_says_how_large(in_trained, monkeypatch):
    monkeypatch.setattr("leyden.stages.evaluate.robustness.MAX_EXAMPLES", 40)
    model, seen = leyden.load("artifacts/train/model.ckpt"), []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    rows = measure_accuracies(model, ["noise"])
    assert [row["examples"] for row in rows] == [40] * 3
    assert sum(seen) == 3 * 40
