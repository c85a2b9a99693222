"""The model's predictions for the test split, as far as examples are chosen by them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leyden.data.packed import Split
from leyden.data.sequences import SequenceSplit
from leyden.models.build import Model
from leyden.outputs.reader import OutputReader
from leyden.runtimes.load import calibrated
from leyden.runtimes.output_parts import predict_parts
from leyden.stages.explain.batch import BATCH_SIZE

VECTOR_BATCH_SIZE = 256  # of outputs without a value per pixel


class Predictions(NamedTuple):
    """For each of N examples: its error, float64 (N,); the labels that are explained; the first one's probability (N,).

    There are no probabilities, `confidence` is None, unless each example has exactly one label.
    """

    errors: np.ndarray
    labels: list[list[int]]
    confidence: Tensor | None


def predict_split(module: Model, reader: OutputReader, split: Split | SequenceSplit) -> Predictions:
    """Run the model over a split."""
    errors, confidence = [], []
    labels: list[list[int]] = []
    batch_size = BATCH_SIZE if reader.is_dense else VECTOR_BATCH_SIZE
    for rows, outputs in predict_parts(module, reader, split[0], batch_size, "explain"):
        errors.append(reader.errors(outputs, split.targets[rows]))
        explained = reader.explained_labels(outputs)
        labels += explained
        if reader.has_one_label:
            logits = torch.from_numpy(outputs)
            probabilities = reader.response(calibrated(module, logits), reader.reference(logits))
            confidence.append(probabilities[range(len(explained)), [first for first, *_ in explained]])
    return Predictions(np.concatenate(errors), labels, torch.cat(confidence) if confidence else None)


def predict_outputs(module: Model, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the model's outputs, (N, K) or (N, K, H, W), for the network's inputs."""
    with torch.no_grad():
        return module.output(module.network(*inputs)).float()
