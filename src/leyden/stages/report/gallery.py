"""Errors with their images, and where it was drawn the map of what the model looked at."""

from typing import NamedTuple

from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.pictures import Picture
from leyden.stages.report.predictions import Prediction


class Shown(NamedTuple):
    """A prediction; sequences have no image, and only the examples that `leyden explain` drew have a map."""

    prediction: Prediction
    image: Picture | None
    map: Picture | None


def gallery_of(evaluation: Evaluation | None, explanations: Explanations | None) -> list[Shown]:
    """Join what evaluation and explanation say of the same examples."""
    shown = evaluation.shown if evaluation else []
    return [
        Shown(prediction, image, explanations.map_of(prediction.path) if explanations else None)
        for prediction, image in shown
    ]
