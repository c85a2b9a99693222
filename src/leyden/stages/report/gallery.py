"""Errors with their images, and with attribution maps where `leyden explain` drew one."""

from typing import NamedTuple

from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.pictures import Picture
from leyden.stages.report.predictions import Prediction


class GalleryItem(NamedTuple):
    """A prediction; sequences have no image, and only the examples that `leyden explain` drew have a map."""

    prediction: Prediction
    image: Picture | None
    map: Picture | None


def build_gallery(evaluation: Evaluation | None, explanations: Explanations | None) -> list[GalleryItem]:
    """Join the predictions shown with their attribution maps."""
    shown = evaluation.shown if evaluation else []
    return [
        GalleryItem(prediction, image, explanations.read_map(prediction.path) if explanations else None)
        for prediction, image in shown
    ]
