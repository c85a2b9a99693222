"""A model's predictions of one split, and predictions.csv."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from leyden.artifacts import SCORE_PREFIX
from leyden.data.packed import read_examples, read_paths
from leyden.files.tables import write_table
from leyden.runtimes.load import Predictor, calibrated, predict_logits

PROBABILITIES_PER_BLOCK = 2**20  # 4 MB
MAX_SCORES = 100  # in a row of predictions.csv: with 1,000 classes, all are 10 MB per 1,000 examples, nearly all 0


class Predictions(NamedTuple):
    """Predictions of N examples among K classes.

    Attributes:
        paths: The examples' files.
        class_names: Name of each class.
        labels: Indices of the true classes, int64 (N,).
        log_probabilities: Calibrated log-probabilities, float32 (N, K).
    """

    paths: list[str]
    class_names: list[str]
    labels: Tensor
    log_probabilities: Tensor

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
        return self.log_probabilities.amax(dim=1).exp()

    @property
    def predicted(self) -> Tensor:
        return self.log_probabilities.argmax(dim=1)

    @property
    def is_correct(self) -> Tensor:
        return self.predicted == self.labels


def predict_split(predictor: Predictor, data: Path, split: str, batch_size: int) -> Predictions:
    examples, labels = read_examples(data, split)
    logits = predict_logits(predictor, examples, batch_size, "evaluate")
    predictions = Predictions(read_paths(data, split), predictor.labels, torch.from_numpy(labels), logits)
    for block, _ in predictions.blocks():  # in place
        block.copy_(calibrated(predictor, block).log_softmax(dim=1))
    return predictions


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write one row per example with its highest probabilities, to six significant digits; other cells are blank."""
    scores = [f"{SCORE_PREFIX}{name}" for name in predictions.class_names]
    write_table(path, prediction_rows(predictions, scores), ["path", "label", "prediction", "confidence", *scores])


def prediction_rows(predictions: Predictions, scores: list[str]) -> Iterator[dict[str, str]]:
    names, paths = predictions.class_names, iter(predictions.paths)
    for log_probabilities, labels in predictions.blocks():
        highest = log_probabilities.exp().topk(min(MAX_SCORES, len(names)), dim=1)
        columns = (labels, log_probabilities.argmax(dim=1), *highest)
        for label, predicted, values, indices in zip(*(column.tolist() for column in columns), strict=True):
            texts = [f"{value:.6g}" for value in values]
            yield {
                "path": next(paths),
                "label": names[label],
                "prediction": names[predicted],
                "confidence": texts[0],
                **dict(zip((scores[index] for index in indices), texts, strict=True)),
            }
