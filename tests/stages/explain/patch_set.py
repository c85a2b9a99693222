"""Images in which a small patch, at a different position in each, decides the class; and networks trained on them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from leyden.outputs.classification import ClassificationReader
from leyden.stages.explain.methods import attribute
from leyden.stages.explain.network import ExplainedNetwork

SIDE, PATCH = 16, 4
Loss = Callable[[Tensor, Tensor], Tensor]
READER = ClassificationReader(["vertical", "horizontal"])


class PatchSet(NamedTuple):
    """Normalised images (N, 1, SIDE, SIDE), labels (N,), and a mask of the patch: bool (N, SIDE, SIDE)."""

    images: Tensor
    labels: Tensor
    inside: Tensor


def make_patches(count: int, seed: int) -> PatchSet:
    """Draw faint noise with one patch of vertical (0) or horizontal (1) stripes in a cell of the grid."""
    generator = np.random.default_rng(seed)
    images = generator.normal(0, 0.1, (count, 1, SIDE, SIDE)).astype(np.float32)
    labels = generator.integers(0, 2, count)
    inside = np.zeros((count, SIDE, SIDE), bool)
    stripes = np.tile([[2.0, 0.0], [2.0, 0.0]], (PATCH // 2, PATCH // 2)).astype(np.float32)
    for number, label in enumerate(labels):
        top, left = generator.integers(0, SIDE // PATCH, 2) * PATCH
        window = slice(top, top + PATCH), slice(left, left + PATCH)
        images[number, 0][window] += stripes.T if label else stripes
        inside[number][window] = True
    return PatchSet(torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(inside))


def train(network: nn.Module, num_steps: int, loss: Loss = nn.functional.cross_entropy) -> nn.Module:
    """Train a network on patches, by a loss of its outputs and the labels, and check that it has learned them."""
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for step in range(num_steps):
        batch = make_patches(64, step)
        optimizer.zero_grad()
        loss(network(batch.images), batch.labels).backward()
        optimizer.step()
    test = make_patches(64, num_steps)
    assert loss(network.eval()(test.images), test.labels) < 0.15
    return network


def explain_network(network: nn.Module, images: Tensor) -> ExplainedNetwork:
    return ExplainedNetwork(network, images, READER)


def explain_class(name: str, network: ExplainedNetwork, images: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
    """Attribute the logits of classes; nothing else is held fixed."""
    return attribute(name, network, images, labels, labels, seed)


def fraction_inside(maps: Tensor, inside: Tensor) -> float:
    """Return the mean fraction of the positive values of maps (N, H, W) that lies in the patch or at its border."""
    near = nn.functional.max_pool2d(inside.float()[:, None], 3, 1, 1)[:, 0]
    positive = maps.clamp(min=0)
    return float(((positive * near).sum((1, 2)) / positive.sum((1, 2)).clamp(min=1e-12)).mean())


def fraction_by_chance(inside: Tensor) -> float:
    """Return `fraction_inside` of constant maps."""
    return fraction_inside(torch.ones(inside.shape), inside)
