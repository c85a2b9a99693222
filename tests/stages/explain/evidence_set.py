"""Images whose evidence is known: a small patch decides, at another place in each image; and networks that learned it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

SIDE, PATCH = 16, 4


class EvidenceSet(NamedTuple):
    """Normalised images (N, 1, SIDE, SIDE), labels (N,), and where the patch is: bool (N, SIDE, SIDE)."""

    images: Tensor
    labels: Tensor
    inside: Tensor


def make_evidence(count: int, seed: int) -> EvidenceSet:
    """Draw faint noise, and one patch of upright (0) or lying (1) stripes in a cell of the grid."""
    generator = np.random.default_rng(seed)
    images = generator.normal(0, 0.1, (count, 1, SIDE, SIDE)).astype(np.float32)
    labels = generator.integers(0, 2, count)
    inside = np.zeros((count, SIDE, SIDE), bool)
    stripes = np.tile([[2.0, 0.0], [2.0, 0.0]], (PATCH // 2, PATCH // 2)).astype(np.float32)
    for number, label in enumerate(labels):
        top, left = generator.integers(0, SIDE // PATCH, 2) * PATCH
        place = slice(top, top + PATCH), slice(left, left + PATCH)
        images[number, 0][place] += stripes.T if label else stripes
        inside[number][place] = True
    return EvidenceSet(torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(inside))


def train(network: nn.Module, num_steps: int, learning_rate: float = 0.01) -> nn.Module:
    """Teach a network the evidence; it must have learned it."""
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    for step in range(num_steps):
        batch = make_evidence(64, step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(batch.images), batch.labels).backward()
        optimizer.step()
    test = make_evidence(64, num_steps)
    assert (network.eval()(test.images).argmax(1) == test.labels).float().mean() > 0.95
    return network


def share_inside(maps: Tensor, inside: Tensor) -> float:
    """Give the mean share of what maps (N, H, W) say for the class that lies in the patch or at its edge."""
    near = nn.functional.max_pool2d(inside.float()[:, None], 3, 1, 1)[:, 0]
    positive = maps.clamp(min=0)
    return float(((positive * near).sum((1, 2)) / positive.sum((1, 2)).clamp(min=1e-12)).mean())


def share_of_chance(inside: Tensor) -> float:
    """Give what `share_inside` is for maps that are the same everywhere."""
    return share_inside(torch.ones(inside.shape), inside)
