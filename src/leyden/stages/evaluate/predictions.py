"""A model's predictions of one split, and predictions.csv."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from leyden.artifacts import SCORE_PREFIX
from leyden.data.packed import read_examples, read_paths
from leyden.errors import UserError
from leyden.files.tables import write_table
from leyden.runtimes.load import Predictor, calibrated, predict_logits


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

    @property
    def probabilities(self) -> Tensor:
        return self.log_probabilities.exp()

    @property
    def confidence(self) -> Tensor:
        return self.log_probabilities.amax(dim=1).exp()

    @property
    def predicted(self) -> Tensor:
        return self.log_probabilities.argmax(dim=1)

    @property
    def is_correct(self) -> Tensor:
        return self.predicted == self.labels


def check_labels(predictor: Predictor, labels: list[str], model: Path) -> None:
    """Raise UserError if a model has other labels than the data, or the same in a different order."""
    if predictor.labels != labels:
        raise UserError(
            f"expected a model of the labels {', '.join(labels)}; {model} has {', '.join(predictor.labels)}; "
            "train it on this data"
        )


def predict_split(predictor: Predictor, data: Path, split: str, batch_size: int) -> Predictions:
    examples, labels = read_examples(data, split)
    logits = calibrated(predictor, predict_logits(predictor, examples, batch_size))
    return Predictions(read_paths(data, split), predictor.labels, torch.from_numpy(labels), logits.log_softmax(dim=1))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write one row per example; probabilities keep six significant digits."""
    names, scores = predictions.class_names, [f"{SCORE_PREFIX}{name}" for name in predictions.class_names]
    columns = (predictions.labels, predictions.predicted, predictions.confidence, predictions.probabilities)
    rows = (
        {
            "path": file,
            "label": names[label],
            "prediction": names[predicted],
            "confidence": f"{confidence:.6g}",
            **{score: f"{value:.6g}" for score, value in zip(scores, probabilities, strict=True)},
        }
        for file, label, predicted, confidence, probabilities in zip(
            predictions.paths, *(column.tolist() for column in columns), strict=True
        )
    )
    write_table(path, rows, ["path", "label", "prediction", "confidence", *scores])
