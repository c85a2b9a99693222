"""The argument of a format's writer: the model, where to write it, and the metadata of the file."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from leyden.models.build import Model
from leyden.models.image_model import ImageModel
from leyden.outputs import load_reader
from leyden.runtimes.examples import Examples
from leyden.stages.export.input_spec import InputSpec, make_input_spec
from leyden.stages.export.tensor_module import TensorModule

Step = Callable[..., Tensor]


class CannotWriteError(Exception):
    """A format cannot be written on this machine or for this network; the other formats still are."""


@dataclass(frozen=True)
class Quantisation:
    """How an 8-bit file is quantised.

    Args:
        calibration: How the ranges of activations are found: minmax, or percentile, which cuts off outliers.
        float32_layers: Layers that are not quantised.
    """

    calibration: str = "minmax"
    float32_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidates:
    """The ways in which a writer can quantise a model.

    Args:
        layers: Names of the layers that can stay in float32, in the order of computation.
        calibrations: Methods of calibration.
        build: Returns the quantised model, ready to run.
    """

    layers: list[str]
    calibrations: tuple[str, ...]
    build: Callable[[Quantisation], Step]


@dataclass
class ExportRequest:
    """One file to write.

    A writer records the model's intermediate forms in `steps` (`exported`, `quantised`): if the file differs from the
    checkpoint, these are run as well, and the first one that differs is reported. `last_step` names the step that wrote
    the file.
    """

    module: Model | TensorModule
    path: Path
    precision: str  # one of the writer's PRECISIONS
    metadata: str  # JSON
    calibration: Examples  # real ones of the validation split
    more_calibration: Examples | None = None  # for a file that misses its tolerance
    quantisation: Quantisation = Quantisation()
    steps: dict[str, Step] = field(default_factory=dict)
    last_step: str = "lowered"

    @property
    def output_names(self) -> list[str]:
        if isinstance(self.module, TensorModule):
            return self.module.output_names
        return [load_reader(self.module.spec).output_name]

    @property
    def input_spec(self) -> InputSpec | TensorModule:
        return self.module if isinstance(self.module, TensorModule) else make_input_spec(self.module)


class HalfPrecisionModel(nn.Module):
    """A model whose network computes in half precision; preprocessing and outputs stay in float32."""

    def __init__(self, module: ImageModel, dtype: torch.dtype) -> None:
        super().__init__()
        self.preprocess, self.dtype = module.preprocess, dtype
        self.network, self.output = copy.deepcopy(module.network).to(dtype), module.output

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.network(self.preprocess(images).to(self.dtype)).float())


HALF_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def cast_model(request: ExportRequest) -> nn.Module:
    """Return the model in the requested precision if that is fp16 or bf16; otherwise, as it is."""
    if request.precision not in HALF_DTYPES:
        return request.module
    assert isinstance(request.module, ImageModel)  # no writer offers half precision for sequences
    return HalfPrecisionModel(request.module, HALF_DTYPES[request.precision]).eval()
