"""Adversarial examples stay within their bounds and raise the loss."""

import pytest
import torch
from torch.nn import functional as F

from leyden.training.adversarial import attack


@pytest.fixture
def problem():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    mean, std = torch.full((1, 3, 1, 1), 0.4), torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
    labels = torch.arange(20) % 3
    clean = (torch.rand(20, 3, 4, 4) - mean) / std
    return network, clean, mean, std, lambda images: F.cross_entropy(network(images), labels)


def test_each_pixel_changes_by_at_most_epsilon_and_stays_valid(problem):
    _, clean, mean, std, loss_of = problem
    attacked = attack(clean, loss_of, 0.1, mean, std)
    change = ((attacked - clean) * std).abs()
    assert change.max() == pytest.approx(0.1, abs=1e-6)
    assert change.mean() > 0.05
    attacked_pixels = attacked * std + mean
    assert attacked_pixels.min() > -1e-6
    assert attacked_pixels.max() < 1 + 1e-6


def test_it_raises_the_loss_more_than_noise_does(problem):
    _, clean, mean, std, loss_of = problem
    attacked = attack(clean, loss_of, 0.1, mean, std)
    assert loss_of(attacked) > loss_of(clean) + 0.05
    noisy = (clean + 0.1 / std * torch.sign(torch.randn(clean.shape))).clamp(-mean / std, (1 - mean) / std)
    assert loss_of(attacked) - loss_of(clean) > 3 * (loss_of(noisy) - loss_of(clean)).abs()


def test_the_networks_gradients_are_not_changed(problem):
    network, clean, mean, std, loss_of = problem
    attacked = attack(clean, loss_of, 0.1, mean, std)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not attacked.requires_grad


def test_the_dtype_is_kept(problem):
    _, clean, mean, std, loss_of = problem
    assert attack(clean.bfloat16(), lambda images: loss_of(images.float()), 0.1, mean, std).dtype == torch.bfloat16
