"""Predictions of made-up examples: 0.png, 1.png, ... of classes a, b, ..."""

from string import ascii_letters

from torch import Tensor

from leyden.stages.evaluate.predictions import Predictions


def make_predictions(probabilities: Tensor, labels: Tensor) -> Predictions:
    paths = [f"{number}.png" for number in range(len(labels))]
    num_classes = probabilities.shape[1]
    names = (
        list(ascii_letters[:num_classes]) if num_classes <= len(ascii_letters) else list(map(str, range(num_classes)))
    )
    return Predictions(paths, names, labels, probabilities.log(), probabilities.argmax(dim=1))
