"""Prepared data, opened once, and batches of it as the network reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from leyden.data.packed import Split, read_paths, read_report, read_split
from leyden.data.sequences import SequenceSplit, read_sequence_split
from leyden.models.build import Model
from leyden.models.image_model import ImageModel
from leyden.outputs.reader import OutputReader
from leyden.runtimes.compatibility import check_fits

BATCH_SIZE = 16  # outputs may have a value per pixel


class PreparedData(NamedTuple):
    """The splits that explanations are made from, each a pair of examples and targets, and the files of their rows.

    `train` is None where the training images are in shards, which have no rows.
    """

    test: Split | SequenceSplit
    test_paths: list[str]
    train: Split | SequenceSplit | None
    train_paths: list[str]


class Batch(NamedTuple):
    """Test examples together with what is explained of the model's predictions for them.

    `examples` are as prepared: images uint8 (N, H, W, C), or padded sequences. `inputs` are what the network reads:
    images float (N, C, H, W), or values (N, T, F) and lengths (N,). `targets` are the labels (N,) whose outputs are
    explained, and `reference` is what stays fixed while inputs change (`OutputReader.reference`).
    """

    examples: Any
    inputs: tuple[Tensor, ...]
    targets: Tensor
    reference: Tensor


def open_prepared_data(folder: Path, module: Model, model: Path) -> PreparedData:
    """Open the test and training splits that `leyden prepare` wrote; `model` is the file of the module.

    Raises:
        UserError: if they were never prepared, or have other labels or inputs than the model.
    """
    check_fits(module, report := read_report(folder), model, folder, can_resize=False)
    has_rows = "shards" not in report
    read = read_split if isinstance(module, ImageModel) else read_sequence_split
    test, test_paths = read(folder, "test"), read_paths(folder, "test")
    train, train_paths = (read(folder, "train"), read_paths(folder, "train")) if has_rows else (None, [])
    return PreparedData(test, test_paths, train, train_paths)


def take_batch(
    module: Model, reader: OutputReader, split: Split | SequenceSplit, rows: Sequence[int], labels: Sequence[int]
) -> Batch:
    """Take some rows of a split, each with the label that is explained; a row may be taken for several labels."""
    examples = split[0][np.array(rows)]
    inputs = preprocess(module, examples)
    return Batch(examples, inputs, torch.tensor(labels), find_reference(module.network, reader, *inputs))


def find_reference(network: nn.Module, reader: OutputReader, *inputs: Tensor) -> Tensor:
    """Return what stays fixed while inputs change, given the whole inputs."""
    with torch.no_grad():
        batches = zip(*(each.split(BATCH_SIZE) for each in inputs), strict=True)
        return torch.cat([reader.reference(network(*batch)) for batch in batches])


def preprocess(module: Model, examples: Any) -> tuple[Tensor, ...]:
    """Return the network's inputs for images uint8 (N, H, W, C), or for padded sequences."""
    with torch.no_grad():
        if isinstance(module, ImageModel):
            return (module.preprocess(torch.from_numpy(np.array(examples)).permute(0, 3, 1, 2)).contiguous(),)
        values, lengths = map(torch.from_numpy, examples)
        return module.preprocess(values, lengths), lengths
