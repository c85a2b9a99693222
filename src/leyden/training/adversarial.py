"""Adversarial examples: images changed to raise a network's loss, for adversarial training."""

from collections.abc import Callable

import torch
from torch import Tensor

STEP_SIZE = 1.25  # in units of epsilon: from a random start, a step of 1 would not reach the corners


def attack(images: Tensor, loss_of: Callable[[Tensor], Tensor], epsilon: float, mean: Tensor, std: Tensor) -> Tensor:
    """Change each pixel by at most `epsilon` to raise the loss, by one step of the fast gradient sign method.

    The step starts from a random point within the bounds.

    Args:
        images: Normalised (B, C, H, W).
        loss_of: Returns the loss of such images, ().
        epsilon: Largest change of a pixel as a fraction of the range from black to white, in (0, 1].
        mean: The mean that images were normalised by, broadcastable to them.
        std: The standard deviation that images were normalised by.

    Returns:
        Normalised images of the same dtype, with all pixels between black and white.

    Source: Wong et al., "Fast is better than free: revisiting adversarial training", 2020, algorithm 3; the step is
    the fast gradient sign method's (Goodfellow et al., 2015, section 4).
    """
    clean, radius, black, white = images.float(), epsilon / std, -mean / std, (1 - mean) / std
    start = (clean + radius * (2 * torch.rand_like(clean) - 1)).clamp(black, white).requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(start.to(images.dtype)), start)
    perturbed = start.detach() + STEP_SIZE * radius * gradient.sign()
    return perturbed.clamp(clean - radius, clean + radius).clamp(black, white).to(images.dtype)
