"""Images changed so that a network errs: to train on, so that it errs less."""

from collections.abc import Callable

import torch
from torch import Tensor

STEP = 1.25  # of epsilon: from a random start, a full step would leave out the corners


def attack(images: Tensor, loss_of: Callable[[Tensor], Tensor], epsilon: float, mean: Tensor, std: Tensor) -> Tensor:
    """Move each pixel by at most `epsilon` of the range from black to white to where the loss is higher: one step from a random start.

    Args:
        images: Normalised (B, C, H, W).
        loss_of: The loss of such images, ().
        epsilon: Largest change of a pixel, in (0, 1].
        mean: What normalisation subtracted, broadcast to the images.
        std: What it divided by.

    Returns:
        Normalised images of the same type, none darker than black or lighter than white.

    Source: Wong et al., "Fast is better than free: revisiting adversarial training", 2020, algorithm 3; the step is the fast gradient
    sign method's (Goodfellow et al., 2015, section 4).
    """
    clean, radius, black, white = images.float(), epsilon / std, -mean / std, (1 - mean) / std
    nearby = (clean + radius * (2 * torch.rand_like(clean) - 1)).clamp(black, white).requires_grad_()
    (slope,) = torch.autograd.grad(loss_of(nearby.to(images.dtype)), nearby)
    moved = nearby.detach() + STEP * radius * slope.sign()
    return moved.clamp(clean - radius, clean + radius).clamp(black, white).to(images.dtype)
