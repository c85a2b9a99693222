"""What the model said of each test example."""

from pathlib import Path
from typing import NamedTuple

from leyden.files.tables import read_columns


class Prediction(NamedTuple):
    """A row of predictions.csv, which is the same row of the packed test examples."""

    row: int
    path: str
    label: str
    prediction: str
    confidence: float

    @property
    def is_right(self) -> bool:
        return self.label == self.prediction


def read_predictions(path: Path) -> list[Prediction]:
    rows = read_columns(path, "evaluate", ["path", "label", "prediction", "confidence"])
    return [
        Prediction(number, image, label, predicted, float(sure))
        for number, (image, label, predicted, sure) in enumerate(rows)
    ]


def choose(predictions: list[Prediction], count: int) -> list[Prediction]:
    """Choose the surest errors, or the least sure right ones where there is no error."""
    errors = [prediction for prediction in predictions if not prediction.is_right]
    return (
        sorted(errors, key=lambda p: -p.confidence)[:count] or sorted(predictions, key=lambda p: p.confidence)[:count]
    )
