"""What a model says of one split: made by running it, or read from an earlier predictions.csv."""

import csv
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from leyden.data.packed import read_examples, read_paths
from leyden.errors import UserError
from leyden.runtimes.load import Predictor, calibrated, predict_logits


class Predictions(NamedTuple):
    """Calibrated log-probabilities (N, K) beside true labels (N,), which count in `names`; and the files' paths."""

    paths: list[str]
    names: list[str]
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
    def is_right(self) -> Tensor:
        return self.predicted == self.labels


def check_labels(predictor: Predictor, labels: list[str], model: Path) -> None:
    if predictor.labels != labels:
        raise UserError(
            f"expected a model of the labels {', '.join(labels)}; {model} knows {', '.join(predictor.labels)}; train it on this data"
        )


def predict_split(predictor: Predictor, data: Path, split: str, batch_size: int) -> Predictions:
    examples, labels = read_examples(data, split)
    logits = calibrated(predictor, predict_logits(predictor, examples, batch_size))
    return Predictions(read_paths(data, split), predictor.labels, torch.from_numpy(labels), logits.log_softmax(dim=1))


def write_predictions(path: Path, found: Predictions) -> None:
    """Write a row per example; probabilities keep six digits that count, however small they are."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "prediction", "confidence", *(f"score:{name}" for name in found.names)])
        columns = (
            found.labels.tolist(),
            found.predicted.tolist(),
            found.confidence.tolist(),
            found.probabilities.tolist(),
        )
        for image, label, predicted, sure, scores in zip(found.paths, *columns, strict=True):
            writer.writerow(
                [
                    image,
                    found.names[label],
                    found.names[predicted],
                    f"{sure:.6g}",
                    *(f"{value:.6g}" for value in scores),
                ]
            )


def read_predictions(path: Path, current: Predictions) -> Predictions:
    """Read what another model said of the same examples, in any order.

    Raises:
        UserError: if it is no predictions.csv, or one of other examples or classes.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = {row.get("path", ""): row for row in csv.DictReader(file)}
    columns = [f"score:{name}" for name in current.names]
    if not rows or any(column not in next(iter(rows.values())) for column in columns):
        raise UserError(
            f"expected scores of the classes {', '.join(current.names)} in {path}; it has others; give a predictions.csv of this data"
        )
    if missing := [name for name in current.paths if name not in rows]:
        raise UserError(
            f"expected a prediction of every test example in {path}; it lacks {len(missing)}, {missing[0]} say; evaluate that model again"
        )
    scores = torch.tensor([[number(rows[name][column]) for column in columns] for name in current.paths])
    if wrong := [
        name
        for name, row in zip(current.paths, scores, strict=True)
        if not (row.isfinite().all() and row.min() >= 0 and row.sum() > 0)
    ]:
        raise UserError(
            f"expected probabilities in {path}; got other scores for {len(wrong)} examples, {wrong[0]} first; evaluate that model again"
        )
    smallest = torch.finfo(torch.float32).tiny
    return current._replace(log_probabilities=(scores / scores.sum(dim=1, keepdim=True)).clamp(min=smallest).log())


def number(text: str | None) -> float:
    """Read a cell; NaN where it holds no number."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
