"""Mixup and CutMix of a training step's inputs, drawn from the step's seed, the same for any number of processes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leyden.ranges import check_range

# Up to 8 processes (a power of two) mix a global batch exactly as one process does.
MAX_GROUPS = 8
MIN_GROUP_SIZE = 8


@dataclass
class Mixing:
    """How pairs of training images are mixed.

    Args:
        mixup_alpha: Blend two images and their labels by shares drawn from Beta(alpha, alpha); 0 is off.
        cutmix_alpha: Paste a box of one image into another, with an area drawn from the same distribution; 0 is off.
            With both on, each step draws which one it uses.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __post_init__(self) -> None:
        check_range("model.mixing", "[0, inf)", mixup_alpha=self.mixup_alpha, cutmix_alpha=self.cutmix_alpha)

    @property
    def is_on(self) -> bool:
        return bool(self.mixup_alpha or self.cutmix_alpha)


def mix(
    inputs: Tensor,
    targets: Tensor,
    mixing: Mixing,
    seed: list[int],
    rank: int = 0,
    world_size: int = 1,
) -> tuple[Tensor, Tensor]:
    """Mix preprocessed images (B, C, H, W) and targets float32 (B, K) with partners in their batch; a kind must be on.

    All processes use the same seed; this one has every `world_size`-th example of the global batch, from `rank` on.

    Returns:
        Mixed images and targets.

    Source: Zhang et al., "mixup", 2018, equation 1; Yun et al., "CutMix", 2019, equations 1 and 2.
    """
    generator = np.random.default_rng(seed)
    partners = torch.from_numpy(draw_partners(len(inputs), seed, rank, world_size)).to(inputs.device)
    use_cutmix = bool(mixing.cutmix_alpha) and (not mixing.mixup_alpha or generator.random() < 0.5)
    alpha = mixing.cutmix_alpha if use_cutmix else mixing.mixup_alpha
    ratio = float(generator.beta(alpha, alpha))
    if use_cutmix:
        height, width = inputs.shape[2:]
        top, left, bottom, right = draw_box(height, width, 1 - ratio, generator)
        mixed = inputs.clone()
        mixed[:, :, top:bottom, left:right] = inputs[partners, :, top:bottom, left:right]
        ratio = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        mixed = ratio * inputs + (1 - ratio) * inputs[partners]
    return mixed, ratio * targets + (1 - ratio) * targets[partners]


def draw_partners(count: int, seed: list[int], rank: int, world_size: int) -> np.ndarray:
    """Draw a permutation (count,) of a process's part of a global batch.

    Example number g of the global batch is permuted within the group g modulo 8, and each group has its own generator.
    One process holds a whole group wherever 8 is a multiple of `world_size`, so that the draw does not depend on it.
    """
    num_groups = next((size for size in (MAX_GROUPS, 4, 2) if count * world_size >= size * MIN_GROUP_SIZE), 1)
    num_groups = num_groups if num_groups % world_size == 0 else world_size
    group_of = (rank + world_size * np.arange(count)) % num_groups
    partners = np.arange(count)
    for group in np.unique(group_of):
        members = np.flatnonzero(group_of == group)
        partners[members] = np.random.default_rng([*seed, int(group)]).permutation(members)
    return partners


def draw_box(
    height: int, width: int, area_fraction: float, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a box that covers a fraction of the area, clipped at the border: top, left, bottom, right."""
    rows, columns = round(height * area_fraction**0.5), round(width * area_fraction**0.5)
    y, x = int(generator.integers(height)), int(generator.integers(width))
    top, left = max(0, y - rows // 2), max(0, x - columns // 2)
    return top, left, min(height, y + (rows + 1) // 2), min(width, x + (columns + 1) // 2)
