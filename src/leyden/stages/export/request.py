"""What a format's writer is given: the model, where to write, and what the file must tell about itself."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from leyden.models.image_model import ImageModel

Step = Callable[[Tensor], Tensor]


class CannotWriteError(Exception):
    """Say why a format cannot be written on this machine, or of this network; the others are."""


@dataclass
class Request:
    """One file to write.

    A writer notes in `steps` what the model was turned into on the way to the file (`exported`, `quantised`): where the file
    differs from the checkpoint, these are run as well, and the first that differs is named. `last_step` is what made the file itself.
    """

    module: ImageModel
    path: Path
    precision: str  # one of the writer's PRECISIONS
    metadata: str  # JSON
    calibration: Tensor  # uint8 (N, C, H, W), real validation images
    steps: dict[str, Step] = field(default_factory=dict)
    last_step: str = "lowered"

    def example(self, batch_size: int = 2) -> Tensor:
        """Give blank images uint8 (B, C, H, W) to trace with: real ones would stay in the file."""
        return torch.zeros(batch_size, self.module.channels, *self.module.image_size, dtype=torch.uint8)


class Reduced(nn.Module):
    """A model whose network computes in half precision; preprocessing and logits stay in float32."""

    def __init__(self, module: ImageModel, dtype: torch.dtype) -> None:
        super().__init__()
        self.preprocess, self.dtype = module.preprocess, dtype
        self.network = copy.deepcopy(module.network).to(dtype)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.preprocess(images).to(self.dtype)).float()


HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def reduced(request: Request) -> nn.Module:
    """Give the model in the precision asked for, where that is a floating-point one."""
    return Reduced(request.module, HALVES[request.precision]).eval() if request.precision in HALVES else request.module
