"""Which classes are confused with which."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

MAX_MATRIX_CLASSES = 25  # a wider matrix is unreadable, and its size grows with the square
MAX_NARROW_CLASSES = 11
MAX_LABEL_LENGTH = 5
MAX_PAIRS = 20


class Cell(NamedTuple):
    """Examples of a row's class predicted as a column's; `fraction` of the row's examples, in [0, 1]."""

    num_examples: int
    fraction: float
    is_correct: bool


class ConfusedPair(NamedTuple):
    """Examples of one class predicted as another; `fraction` of the class's examples, in [0, 1]."""

    label: str
    prediction: str
    num_examples: int
    fraction: float


@dataclass
class Confusion:
    """The confusion matrix (actual classes in rows; None if it would be too large) and the most confused pairs."""

    labels: list[str]
    matrix: list[list[Cell]] | None
    pairs: list[ConfusedPair]
    num_pairs: int

    @property
    def is_wide(self) -> bool:
        """Whether the matrix needs the full width of the page."""
        return self.matrix is not None and len(self.labels) > MAX_NARROW_CLASSES

    @property
    def has_long_labels(self) -> bool:
        """Whether the column labels must be written vertically."""
        return max(map(len, self.labels)) > MAX_LABEL_LENGTH


def count_confusion(outcomes: list[tuple[str, str]], labels: list[str]) -> Confusion:
    """Count outcomes (label, prediction)."""
    counts = Counter(outcomes)
    totals = Counter(label for label, _ in outcomes)
    errors = [(pair, count) for pair, count in counts.items() if pair[0] != pair[1]]
    errors.sort(key=lambda error: (-error[1], error[0]))
    matrix = None
    if len(labels) <= MAX_MATRIX_CLASSES:
        matrix = [
            [Cell(counts[row, column], counts[row, column] / max(totals[row], 1), row == column) for column in labels]
            for row in labels
        ]
    pairs = [ConfusedPair(*pair, count, count / totals[pair[0]]) for pair, count in errors[:MAX_PAIRS]]
    return Confusion(labels, matrix, pairs, len(errors))
