"""Corruptions do what they say; attacks keep their bounds, and harm."""

from pathlib import Path

import pytest
import torch
from torch import nn

import leyden
from leyden.data.packed import read_split
from leyden.stages.evaluate.robustness import (
    ATTACKS,
    CORRUPTIONS,
    OfPixels,
    attack,
    count_right,
    list_accuracies,
    means,
)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 40])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_grows_with_its_strength(kind, side, channels):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, channels, 4, 4, generator=generator)
    images = (255 * nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")).byte()
    changed = [CORRUPTIONS[kind].change(images, strength) for strength in CORRUPTIONS[kind].strengths]
    assert all(each.dtype == torch.uint8 and each.shape == images.shape for each in changed)
    distances = [float((each.float() - images.float()).abs().mean()) for each in changed]
    assert distances[0] < distances[1] < distances[2] and distances[2] > 1


class Linear(nn.Module):
    """Logits of two classes from the mean of the pixels, times a factor: the larger, the surer."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        score = self.factor * (pixels.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-score, score], dim=1)


@pytest.mark.parametrize("kind", ATTACKS)
@pytest.mark.parametrize("factor", [1.0, 40.0])
def test_an_attack_moves_every_pixel_of_a_linear_model_the_right_way_also_of_a_sure_one(kind, factor):
    """At a factor of 40 a slope is about 1e-7 of a pixel: captum by itself would take it for 0 and leave the image as it is."""
    pixels = torch.full((2, 1, 4, 4), 0.5) + torch.tensor([-0.2, 0.2]).view(2, 1, 1, 1)
    moved = attack(Linear(factor), kind, pixels, torch.tensor([0, 1]), 0.1)
    assert torch.allclose(moved - pixels, torch.tensor([0.1, -0.1]).view(2, 1, 1, 1).expand_as(pixels), atol=1e-6)


@pytest.mark.parametrize("kind", ATTACKS)
def test_an_attack_keeps_to_pixels(kind):
    moved = attack(Linear(1.0), kind, torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.tensor([1, 0]), 0.3)
    assert torch.allclose(moved.flatten(), torch.tensor([0.0, 1.0]))


def test_attacks_harm_where_noise_of_the_same_size_does_not(in_trained):
    """What captum's defaults hide: by its own loss PGD leaves most digits right, which truly leaves almost none."""
    model = leyden.load("artifacts/train/model.ckpt")
    images, labels = read_split(Path("artifacts/prepare"), "test")
    pixels, truth = torch.from_numpy(images[:200].copy()).permute(0, 3, 1, 2), torch.from_numpy(labels[:200])
    right = {kind: count_right(model, kind, 0.1, pixels, truth) / 200 for kind in ATTACKS}
    noise = 0.1 * torch.sign(torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        noisy = float((OfPixels(model)((pixels / 255 + noise).clamp(0, 1)).argmax(1) == truth).float().mean())
    assert noisy > 0.8 and right["pgd"] <= right["fgsm"] < noisy - 0.2 and right["pgd"] < noisy - 0.3
    state = torch.get_rng_state()
    assert count_right(model, "pgd", 0.1, pixels, truth) / 200 == right["pgd"] and torch.equal(
        torch.get_rng_state(), state
    )


def test_each_kind_has_a_curve_and_one_figure(in_trained):
    model = leyden.load("artifacts/train/model.ckpt")
    rows = list_accuracies(model, Path("artifacts/prepare"), ["noise", "fgsm"], 256, 0.95)
    assert [(row["kind"], row["strength"]) for row in rows] == [("noise", s) for s in (0.05, 0.1, 0.2)] + [
        ("fgsm", s) for s in (0.01, 0.03, 0.1)
    ]
    assert all(
        row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] and row["examples"] == 350 for row in rows
    )
    assert means(rows)["fgsm_accuracy"] == pytest.approx(sum(row["accuracy"] for row in rows[3:]) / 3)
