"""Colour jitter of a batch, with separate factors for each example."""

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: the weights of red, green and blue that Pillow and torchvision use


def jitter(images: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation of uint8 images (B, C, H, W), in this order.

    Args:
        images: The batch; for a single channel the saturation is ignored.
        factors: (B, 3); 1 changes nothing, as in torchvision's `adjust_brightness`, `adjust_contrast` and
            `adjust_saturation`.
    """
    brightness, contrast, saturation = (factors[:, index].view(-1, 1, 1, 1) for index in range(3))
    pixels = (images.float() * brightness).clamp(0, 255)
    mean = to_luma(pixels).mean(dim=(1, 2, 3), keepdim=True)
    pixels = (mean + (pixels - mean) * contrast).clamp(0, 255)
    if images.shape[1] == 3:
        luma = to_luma(pixels)
        pixels = (luma + (pixels - luma) * saturation).clamp(0, 255)
    return pixels.round().to(torch.uint8)


def to_luma(pixels: Tensor) -> Tensor:
    """Return the luma (B, 1, H, W) of pixels (B, C, H, W)."""
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * pixels.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
