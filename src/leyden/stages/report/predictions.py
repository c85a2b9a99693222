"""The model's predictions on the test examples."""

from pathlib import Path
from typing import NamedTuple

from leyden.files.tables import read_columns


class Prediction(NamedTuple):
    """A row of predictions.csv; `row` is also the example's row in the packed test split."""

    row: int
    path: str
    label: str
    prediction: str
    confidence: float

    @property
    def is_correct(self) -> bool:
        return self.label == self.prediction


def read_predictions(path: Path) -> list[Prediction]:
    rows = read_columns(path, "evaluate", ["path", "label", "prediction", "confidence"])
    return [
        Prediction(number, example, label, prediction, float(confidence))
        for number, (example, label, prediction, confidence) in enumerate(rows)
    ]


def select_shown(predictions: list[Prediction], count: int) -> list[Prediction]:
    """Select the most confident errors, or the least confident predictions if there are no errors."""
    errors = sorted((p for p in predictions if not p.is_correct), key=lambda p: -p.confidence)
    return errors[:count] or sorted(predictions, key=lambda p: p.confidence)[:count]
