"""Attacks stay within their bounds, raise the loss, and training on them is continued exactly."""

import pytest
import torch
from torch.nn import functional as F

from leyden.training.adversarial import attack


@pytest.fixture
def problem():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    pixels, mean, std = (
        torch.rand(20, 3, 4, 4),
        torch.full((1, 3, 1, 1), 0.4),
        torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1),
    )
    labels = torch.arange(20) % 3
    return network, pixels, mean, std, lambda images: F.cross_entropy(network(images), labels)


def test_each_pixel_moves_by_at_most_epsilon_and_stays_a_pixel(problem):
    _, pixels, mean, std, loss_of = problem
    clean = (pixels - mean) / std
    moved = attack(clean, loss_of, 0.1, mean, std)
    change = (moved - clean) * std
    assert change.abs().max() == pytest.approx(0.1, abs=1e-6) and change.abs().mean() > 0.05
    back = moved * std + mean
    assert back.min() > -1e-6 and back.max() < 1 + 1e-6
    assert loss_of(moved) > loss_of(clean) + 0.05
    noise = (clean + 0.1 / std * torch.sign(torch.randn(clean.shape))).clamp(-mean / std, (1 - mean) / std)
    assert loss_of(moved) - loss_of(clean) > 3 * (loss_of(noise) - loss_of(clean)).abs()


def test_the_networks_own_gradients_are_left_alone(problem):
    network, pixels, mean, std, loss_of = problem
    moved = attack((pixels - mean) / std, loss_of, 0.1, mean, std)
    assert all(parameter.grad is None for parameter in network.parameters()) and not moved.requires_grad


def test_the_type_stays(problem):
    _, pixels, mean, std, loss_of = problem
    assert attack(pixels.bfloat16(), lambda images: loss_of(images.float()), 0.1, mean, std).dtype == torch.bfloat16
