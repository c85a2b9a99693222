"""The inputs of a model, images or sequences: what its writers must know, and the examples that verify its files."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leyden.data.packed import read_examples, read_split
from leyden.data.sequences import SequenceSplit
from leyden.models.build import Model
from leyden.models.image_model import ImageModel
from leyden.models.sequence_model import SequenceModel
from leyden.outputs import load_reader
from leyden.runtimes.examples import Examples, ImageExamples, SequenceExamples, spread_rows

MAX_OUTPUT_VALUES = 1 << 26  # 256 MB, of which verification holds four: of two models, at two batch sizes


class ImageInputSpec:
    """Images uint8 (B, C, H, W)."""

    names = ("images",)  # in the order of the model's arguments

    def __init__(self, module: ImageModel) -> None:
        self.module, self.shape = module, [module.channels, *module.image_size]

    def example_inputs(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return blank inputs to trace with: real ones would be stored in the file."""
        return (torch.zeros(batch_size, *self.shape, dtype=torch.uint8),)

    def dynamic_shapes(self, max_batch: int | None = None) -> tuple[dict[int, Any], ...]:
        """Return which dimensions vary from call to call, as torch.export expects them."""
        return ({0: torch.export.Dim("batch", min=1, max=max_batch)},)

    def describe(self) -> dict[str, Any]:
        """Describe the inputs for the file's metadata."""
        images = {"name": "images", "dtype": "uint8", "shape": ["batch", *self.shape]}
        return {"input": images | self.module.spec["input"]}

    @property
    def output_shape(self) -> list[int]:
        """The shape of one example's outputs."""
        return list(load_reader(self.module.spec).output_shape(self.shape[1:]))

    def read(self, folder: Path, split: str, count: int) -> tuple[Examples, np.ndarray]:
        """Read prepared examples of a split, with their targets, as they are packed."""
        images, targets = read_split(folder, split)
        rows = spread_rows(len(targets), count)
        return make_image_examples(images[rows]), targets[rows]


class SequenceInputSpec:
    """Values float32 (B, T, F), zero after each end, and lengths int64 (B,)."""

    names = ("values", "lengths")

    def __init__(self, module: SequenceModel) -> None:
        self.module = module

    def example_inputs(self, batch_size: int) -> tuple[Tensor, ...]:
        # Unequal lengths, none of which is 1: torch.export would treat that as a constant.
        lengths = torch.arange(batch_size).remainder(4) + 4
        return torch.zeros(batch_size, int(lengths.max()), self.module.features), lengths

    def dynamic_shapes(self, max_batch: int | None = None) -> tuple[dict[int, Any], ...]:
        batch = torch.export.Dim("batch", min=1, max=max_batch)
        return {0: batch, 1: torch.export.Dim("time", min=1)}, {0: batch}

    def describe(self) -> dict[str, Any]:
        values = {"name": "values", "dtype": "float32", "shape": ["batch", "time", self.module.features]}
        return {
            "input": values | self.module.spec["input"],
            "lengths": {"name": "lengths", "dtype": "int64", "shape": ["batch"]},
        }

    @property
    def output_shape(self) -> list[int]:
        return list(load_reader(self.module.spec).output_shape())

    def read(self, folder: Path, split: str, count: int) -> tuple[Examples, np.ndarray]:
        prepared = read_examples(folder, split)
        assert isinstance(prepared, SequenceSplit)  # check_fits has compared the model with the data
        rows = spread_rows(len(prepared.targets), count)
        return SequenceExamples(*prepared.sequences[rows]), prepared.targets[rows]


InputSpec = ImageInputSpec | SequenceInputSpec


def make_input_spec(module: Model) -> InputSpec:
    return ImageInputSpec(module) if isinstance(module, ImageModel) else SequenceInputSpec(module)


def limit_examples(spec: InputSpec, count: int) -> int:
    """Return how many examples to compare files on: at most `count`, and not more than MAX_OUTPUT_VALUES allow."""
    return max(1, min(count, MAX_OUTPUT_VALUES // math.prod(spec.output_shape)))


def make_image_examples(images: np.ndarray) -> ImageExamples:
    """Convert images (N, H, W, C) to the models' layout (N, C, H, W)."""
    return ImageExamples(np.ascontiguousarray(np.moveaxis(np.asarray(images), 3, 1)))


def to_tensors(batch: tuple[np.ndarray, ...]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, batch))
