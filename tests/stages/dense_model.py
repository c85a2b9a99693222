"""A model of masks whose classes are dark and bright pixels."""

import torch
from torch import Tensor

from leyden.outputs import load_reader

SIZE = (6, 8)
DESCRIPTION = {
    "labels": ["dark", "bright"],
    "task": {"name": "segmentation", "palette": ["#000000", "#ffa000"]},
    "input": {"channels": 1, "image_size": list(SIZE)},
}
READER = load_reader(DESCRIPTION)


class PixelModel:
    """Maps grey images of 6x8 pixels to logits (B, 2, H, W); of a black image, to NaN."""

    labels, channels, image_size = ("dark", "bright"), 1, SIZE

    def __init__(self) -> None:
        self.spec, self.input = DESCRIPTION, DESCRIPTION["input"]

    def __call__(self, images: Tensor) -> Tensor:
        pixels = images.float() - 127.5
        pixels[images.flatten(1).amax(1) == 0] = torch.nan
        return torch.cat([-pixels, pixels], dim=1)
