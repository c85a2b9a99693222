"""A model's predictions of one split, and predictions.csv."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leyden.artifacts import SCORE_PREFIX
from leyden.data.packed import read_examples, read_paths
from leyden.outputs.reader import OutputReader
from leyden.runtimes.load import Predictor, calibrated, predict_logits
from leyden.stages.evaluate.results import Row
from leyden.statistics.measures import AnyMeasure

PROBABILITIES_PER_BLOCK = 2**20  # 4 MB
MAX_SCORES = 100  # in a row of predictions.csv: with 1,000 classes, all are 10 MB per 1,000 examples, nearly all 0


class Predictions(NamedTuple):
    """Predictions of N examples among K classes.

    Attributes:
        paths: The examples' files.
        class_names: Name of each class.
        labels: Indices of the true classes, int64 (N,).
        log_probabilities: Calibrated log-probabilities, float32 (N, K).
        predicted: Indices of the predicted classes, int64 (N,).
        measures: What the task is scored by, besides the metrics of all tasks with one label.
    """

    paths: list[str]
    class_names: list[str]
    labels: Tensor
    log_probabilities: Tensor
    predicted: Tensor
    measures: Sequence[AnyMeasure] = ()

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield log-probabilities and labels of some examples at a time: all at once take up to K values each."""
        size = max(1, PROBABILITIES_PER_BLOCK // len(self.class_names))
        yield from zip(self.log_probabilities.split(size), self.labels.split(size), strict=True)

    @property
    def label_probability(self) -> Tensor:
        return self.log_probabilities.gather(1, self.labels[:, None])[:, 0].exp()

    def label_probability_at(self, temperature: float) -> Tensor:
        """Return the labels' probabilities (N,) if all log-probabilities are divided by a temperature."""
        parts = [
            (block / temperature).log_softmax(dim=1).gather(1, labels[:, None])[:, 0].exp()
            for block, labels in self.blocks()
        ]
        return torch.cat(parts)

    @property
    def confidence(self) -> Tensor:
        return self.log_probabilities.gather(1, self.predicted[:, None])[:, 0].exp()

    @property
    def is_correct(self) -> Tensor:
        return self.predicted == self.labels


def predict_split(predictor: Predictor, reader: OutputReader, data: Path, split: str, batch_size: int) -> Predictions:
    examples, labels = read_examples(data, split)
    logits = predict_logits(predictor, examples, batch_size, "evaluate")
    outputs, labels = logits.numpy(), np.asarray(labels)
    predictions = Predictions(
        read_paths(data, split),
        predictor.labels,
        torch.from_numpy(labels),
        logits,
        torch.from_numpy(reader.decide(outputs)),
        reader.measures(outputs, labels),
    )
    for block, _ in predictions.blocks():  # in place
        block.copy_(calibrated(predictor, block).log_softmax(dim=1))
    return predictions


def prediction_columns(predictions: Predictions) -> list[str]:
    return ["path", "label", "prediction", "confidence", *score_columns(predictions)]


def score_columns(predictions: Predictions) -> list[str]:
    return [f"{SCORE_PREFIX}{name}" for name in predictions.class_names]


def prediction_rows(predictions: Predictions) -> Iterator[Row]:
    """Yield one row per example with its highest probabilities, to six significant digits; other cells are blank."""
    names, paths, scores = predictions.class_names, iter(predictions.paths), score_columns(predictions)
    confidences, predicted = iter(predictions.confidence.tolist()), iter(predictions.predicted.tolist())
    for log_probabilities, labels in predictions.blocks():
        highest = log_probabilities.exp().topk(min(MAX_SCORES, len(names)), dim=1)
        for label, values, indices in zip(labels.tolist(), *(part.tolist() for part in highest), strict=True):
            texts = (f"{value:.6g}" for value in values)
            yield {
                "path": next(paths),
                "label": names[label],
                "prediction": names[next(predicted)],
                "confidence": f"{next(confidences):.6g}",
                **dict(zip((scores[index] for index in indices), texts, strict=True)),
            }
