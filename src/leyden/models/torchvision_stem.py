"""The first layers of torchvision's networks, adapted to the images' channels and size."""

from typing import Any

import torch
from torch import nn

# Minimum side in pixels for torchvision's stems: they reduce the resolution to a quarter or less.
MIN_SIDE_FOR_COARSE_STEM = 64
# In ResNets and ShuffleNets, in DenseNets, in the ResNets of segmentation networks.
STEM_POOLS = ("maxpool", "features.pool0", "body.backbone.maxpool")


def find_first_convolution(body: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, layer) for name, layer in body.named_modules() if isinstance(layer, nn.Conv2d))


def fit_stem(body: nn.Module, in_channels: int, image_size: tuple[int, int]) -> None:
    """Replace the first convolution by one for these channels and this image size."""
    old = find_first_convolution(body)[1]
    is_patch_embedding = old.kernel_size == old.stride
    if is_patch_embedding or min(image_size) >= MIN_SIDE_FOR_COARSE_STEM:
        if in_channels != old.in_channels:
            replace_first_convolution(body, in_channels)
        return
    for pool in STEM_POOLS:
        replace_layer(body, pool, nn.Identity())
    replace_first_convolution(body, in_channels, kernel_size=3, stride=1, padding=1)


def fit_channels(body: nn.Module, in_channels: int) -> None:
    """Replace the first convolution by one for these channels, if they are not RGB.

    For a single channel, the kernel is summed over red, green and blue: the output is then that of the original network
    for the grey images repeated in all three.
    """
    old = find_first_convolution(body)[1]
    if in_channels == old.in_channels:
        return
    new = replace_first_convolution(body, in_channels)
    if in_channels == 1:
        with torch.no_grad():
            new.weight.copy_(old.weight.sum(dim=1, keepdim=True))


def replace_first_convolution(body: nn.Module, in_channels: int, **shape: Any) -> nn.Conv2d:
    name, old = find_first_convolution(body)
    shape = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding} | shape
    new = nn.Conv2d(in_channels, old.out_channels, bias=old.bias is not None, **shape)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    replace_layer(body, name, new)
    return new


def replace_layer(body: nn.Module, path: str, layer: nn.Module) -> None:
    """Replace the layer at a path, if there is one."""
    parent, _, name = path.rpartition(".")
    if any(path == other for other, _ in body.named_modules()):
        setattr(body.get_submodule(parent), name, layer)
