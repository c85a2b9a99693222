"""Whether a network fits the images' size."""

import copy

import torch
from torch import nn

from leyden.errors import UserError


def check_size(body: nn.Module, name: str, in_channels: int, image_size: tuple[int, int]) -> None:
    """Run a copy of the network on the meta device, which computes shapes only.

    Raises:
        UserError: if a layer's output would be empty.
    """
    meta_body = copy.deepcopy(body).to("meta").eval()
    try:
        meta_body(torch.empty(1, in_channels, *image_size, device="meta"))
    except (AssertionError, RuntimeError, ValueError) as error:
        height, width = image_size
        raise UserError(
            f"expected larger images for {name}; got {height}x{width} ({str(error).splitlines()[0][:100]}); "
            "use a different network"
        ) from error
