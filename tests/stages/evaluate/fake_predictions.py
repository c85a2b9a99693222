"""Predictions of made-up examples: 0.png, 1.png, ... of classes a, b, ..."""

from torch import Tensor

from leyden.stages.evaluate.predictions import Predictions


def make_predictions(probabilities: Tensor, labels: Tensor) -> Predictions:
    paths = [f"{number}.png" for number in range(len(labels))]
    return Predictions(paths, list("abcdefg"[: probabilities.shape[1]]), labels, probabilities.log())
