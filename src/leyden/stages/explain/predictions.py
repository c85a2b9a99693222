"""The model's predictions for the test split, as far as examples are chosen by them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leyden.data.packed import Split
from leyden.data.sequences import SequenceSplit
from leyden.models.build import Model
from leyden.outputs.reader import OutputReader
from leyden.runtimes.load import calibrated, predict_logits
from leyden.stages.explain.batch import BATCH_SIZE, preprocess

PREDICTION_BATCH_SIZE = 256


class Predictions(NamedTuple):
    """For each of N examples: its error, float64 (N,); the label that is explained, int64 (N,); its probability (N,).

    There are no probabilities, `confidence` is None, unless each example has exactly one label.
    """

    errors: np.ndarray
    labels: Tensor
    confidence: Tensor | None


def predict_split(module: Model, reader: OutputReader, split: Split | SequenceSplit) -> Predictions:
    """Run the model over a split."""
    errors, labels, confidence = [], [], []
    start = 0
    for outputs in predict_batches(module, reader, split):
        stop = start + len(outputs)
        errors.append(reader.errors(outputs.numpy(), split.targets[start:stop]))
        labels.append(torch.from_numpy(reader.explained_labels(outputs.numpy())))
        if reader.has_one_label:
            probabilities = reader.response(calibrated(module, outputs), reader.reference(outputs))
            confidence.append(probabilities.gather(1, labels[-1][:, None])[:, 0])
        start = stop
    return Predictions(np.concatenate(errors), torch.cat(labels), torch.cat(confidence) if confidence else None)


def predict_batches(module: Model, reader: OutputReader, split: Split | SequenceSplit) -> Iterator[Tensor]:
    """Yield outputs, batch by batch if they have a value per pixel."""
    if not reader.is_dense:
        yield predict_logits(module, split[0], PREDICTION_BATCH_SIZE, "explain")
        return
    for start in range(0, len(split.targets), BATCH_SIZE):
        yield predict_outputs(module, preprocess(module, split[0][start : start + BATCH_SIZE]))


def predict_outputs(module: Model, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the model's outputs, (N, K) or (N, K, H, W), for the network's inputs."""
    with torch.no_grad():
        return module.output(module.network(*inputs)).float()
