"""Mixup and CutMix on a training step's inputs, drawn from a seed of the step, alike on any number of processes."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from leyden.training.settings import check_range

MOST_GROUPS = 8  # so many processes or fewer, by powers of two, mix as one does
FEWEST_MEMBERS = 8  # of a group that a batch is divided for


@dataclass
class Mixing:
    """How pairs of training images are mixed.

    Args:
        mixup_alpha: Blend two images and their labels by shares drawn from Beta(alpha, alpha); 0 is off.
        cutmix_alpha: Paste a box of one image into another, its area drawn likewise; 0 is off. With both on, each step
            draws which one it uses.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __post_init__(self) -> None:
        check_range(0, math.inf, "[0, inf)", mixup_alpha=self.mixup_alpha, cutmix_alpha=self.cutmix_alpha)

    @property
    def is_on(self) -> bool:
        """Whether any mixing happens."""
        return bool(self.mixup_alpha or self.cutmix_alpha)


def mix(
    inputs: Tensor,
    labels: Tensor,
    num_classes: int,
    mixing: Mixing,
    seed: list[int],
    rank: int = 0,
    world_size: int = 1,
) -> tuple[Tensor, Tensor]:
    """Mix each example with another of its batch.

    Args:
        inputs: Preprocessed images (B, C, H, W).
        labels: Class indices (B,).
        num_classes: K.
        mixing: Which kinds of mixing are on; at least one.
        seed: Decides every draw; the same on all processes.
        rank: Of this process, which has every `world_size`-th example of the global batch.
        world_size: All processes.

    Returns:
        Mixed inputs, and soft targets (B, K).

    Source: Zhang et al., "mixup", 2018, equation 1; Yun et al., "CutMix", 2019, equations 1 and 2.
    """
    generator = np.random.default_rng(seed)
    others = torch.from_numpy(draw_partners(len(inputs), seed, rank, world_size)).to(inputs.device)
    targets = F.one_hot(labels, num_classes).float()  # bfloat16 would round the shares
    cut = bool(mixing.cutmix_alpha) and (not mixing.mixup_alpha or generator.random() < 0.5)
    alpha = mixing.cutmix_alpha if cut else mixing.mixup_alpha
    share = float(generator.beta(alpha, alpha))
    if cut:
        top, left, bottom, right = draw_box(inputs.shape[2], inputs.shape[3], 1 - share, generator)
        mixed = inputs.clone()
        mixed[:, :, top:bottom, left:right] = inputs[others, :, top:bottom, left:right]
        inputs, share = mixed, 1 - (bottom - top) * (right - left) / (inputs.shape[2] * inputs.shape[3])
    else:
        inputs = share * inputs + (1 - share) * inputs[others]
    return inputs, share * targets + (1 - share) * targets[others]


def draw_partners(count: int, seed: list[int], rank: int, world_size: int) -> np.ndarray:
    """Draw a permutation (count,) of a process's share of a global batch.

    Example number g of the global batch trades places within the group g modulo 8, each group by a generator of its own. Such a group
    lies whole in one process's share wherever 8 is a multiple of `world_size`, so that the draw does not depend on it.
    """
    groups = next((size for size in (MOST_GROUPS, 4, 2) if count * world_size >= size * FEWEST_MEMBERS), 1)
    groups = groups if groups % world_size == 0 else world_size
    place = (rank + world_size * np.arange(count)) % groups
    partners = np.arange(count)
    for group in np.unique(place):
        members = np.flatnonzero(place == group)
        partners[members] = np.random.default_rng([*seed, int(group)]).permutation(members)
    return partners


def draw_box(height: int, width: int, share: float, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a box of about a share of the area, cut off at the border: top, left, bottom, right."""
    rows, columns = round(height * share**0.5), round(width * share**0.5)
    y, x = int(generator.integers(height)), int(generator.integers(width))
    top, left = max(0, y - rows // 2), max(0, x - columns // 2)
    return top, left, min(height, y + (rows + 1) // 2), min(width, x + (columns + 1) // 2)
