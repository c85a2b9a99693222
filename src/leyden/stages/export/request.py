"""What a format's writer is given: the model, where to write, and what the file must tell about itself."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from leyden.models.build import Model
from leyden.models.image_model import ImageModel
from leyden.runtimes.examples import Examples
from leyden.stages.export.inputs import Inputs, inputs_of

Step = Callable[..., Tensor]


class CannotWriteError(Exception):
    """Say why a format cannot be written on this machine, or of this network; the others are."""


@dataclass
class Request:
    """One file to write.

    A writer notes in `steps` what the model was turned into on the way to the file (`exported`, `quantised`): where the file
    differs from the checkpoint, these are run as well, and the first that differs is named. `last_step` is what made the file itself.
    """

    module: Model
    path: Path
    precision: str  # one of the writer's PRECISIONS
    metadata: str  # JSON
    calibration: Examples  # real ones of the validation split
    steps: dict[str, Step] = field(default_factory=dict)
    last_step: str = "lowered"

    @property
    def inputs(self) -> Inputs:
        return inputs_of(self.module)


class HalfPrecisionModel(nn.Module):
    """A model whose network computes in half precision; preprocessing and logits stay in float32."""

    def __init__(self, module: ImageModel, dtype: torch.dtype) -> None:
        super().__init__()
        self.preprocess, self.dtype = module.preprocess, dtype
        self.network = copy.deepcopy(module.network).to(dtype)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.preprocess(images).to(self.dtype)).float()


HALF_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def reduced(request: Request) -> nn.Module:
    """Give the model in the precision asked for, where that is a floating-point one."""
    if request.precision not in HALF_DTYPES:
        return request.module
    assert isinstance(request.module, ImageModel)  # no writer offers halves of sequences
    return HalfPrecisionModel(request.module, HALF_DTYPES[request.precision]).eval()
