"""Augment a batch where it lies, each example with a draw of its own.

The draws are made on the CPU from a seed, so that they are the same on every device; only small index tensors travel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class Augment:
    """Random crop with padding, and random horizontal flip.

    Args:
        crop_padding_fraction: Padding on each side before the crop back to size, as a share of the side; 0 is off.
        horizontal_flip: Mirror half of the examples. Off by default: digits, text and left-or-right labels do not survive it.
    """

    crop_padding_fraction: float = 0.125
    horizontal_flip: bool = False

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Augment images (B, C, H, W) of any dtype; the same seed draws the same."""
        generator = torch.Generator().manual_seed(seed)
        height, width = images.shape[2:]
        rows = torch.arange(height).expand(len(images), height)
        columns = torch.arange(width).expand(len(images), width)
        pad_y, pad_x = (round(side * self.crop_padding_fraction) for side in (height, width))
        if pad_y or pad_x:
            rows = rows + draw_shift(len(images), pad_y, generator)
            columns = columns + draw_shift(len(images), pad_x, generator)
            images = F.pad(images, (pad_x, pad_x, pad_y, pad_y))
        if self.horizontal_flip:
            flipped = torch.rand(len(images), 1, generator=generator) < 0.5
            columns = torch.where(flipped, columns.flip(1), columns)
        return gather(images, rows.to(images.device), columns.to(images.device))


def draw_shift(count: int, padding: int, generator: torch.Generator) -> Tensor:
    """Draw the first row (or column) of each crop in a padded image: (B, 1), from 0 to twice the padding."""
    return torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)


def gather(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pick rows (B, H) and columns (B, W) of each image (B, C, H', W'): (B, C, H, W), channels_last in memory."""
    examples = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[examples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
