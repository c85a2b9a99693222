"""A model's predictions of one split, and predictions.csv."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
    """Check that a model has the labels of the data.

    Raises:
        UserError: if it has others, or the same in a different order.
    """
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
    scores = [f"{SCORE_PREFIX}{name}" for name in predictions.class_names]
    write_table(path, prediction_rows(predictions, scores), ["path", "label", "prediction", "confidence", *scores])


def prediction_rows(predictions: Predictions, score_columns: list[str]) -> Iterator[dict[str, Any]]:
    names = predictions.class_names
    columns = (predictions.labels, predictions.predicted, predictions.confidence, predictions.probabilities)
    for path, label, predicted, confidence, probabilities in zip(
        predictions.paths, *(column.tolist() for column in columns), strict=True
    ):
        yield {
            "path": path,
            "label": names[label],
            "prediction": names[predicted],
            "confidence": f"{confidence:.6g}",
            **{column: f"{value:.6g}" for column, value in zip(score_columns, probabilities, strict=True)},
        }
