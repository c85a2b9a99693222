"""Which class is taken for which."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

MAX_MATRIX_CLASSES = 25  # a wider table is no longer read, and grows with the square
MAX_NARROW_CLASSES = 11
MAX_LABEL_LENGTH = 5
MAX_PAIRS = 20


class Cell(NamedTuple):
    """Examples of a row's class given a column's label; `share` of the row's examples, in [0, 1]."""

    num_examples: int
    share: float
    is_right: bool


class Pair(NamedTuple):
    """Examples of one class taken for another; `share` of the class's examples, in [0, 1]."""

    label: str
    prediction: str
    num_examples: int
    share: float


@dataclass
class Confusion:
    """The matrix, rows actual and columns predicted, or None where it would be too large; and the pairs most often confused."""

    labels: list[str]
    matrix: list[list[Cell]] | None
    pairs: list[Pair]
    num_pairs: int

    @property
    def is_wide(self) -> bool:
        """Whether the matrix needs the page's whole width."""
        return self.matrix is not None and len(self.labels) > MAX_NARROW_CLASSES

    @property
    def has_long_labels(self) -> bool:
        """Whether the labels above the columns must stand upright."""
        return max(map(len, self.labels)) > MAX_LABEL_LENGTH


def count_confusion(outcomes: list[tuple[str, str]], labels: list[str]) -> Confusion:
    """Count outcomes (label, prediction)."""
    counts = Counter(outcomes)
    totals = Counter(label for label, _ in outcomes)
    wrong = sorted(
        ((count, pair) for pair, count in counts.items() if pair[0] != pair[1]), key=lambda found: (-found[0], found[1])
    )
    pairs = [Pair(*pair, count, count / totals[pair[0]]) for count, pair in wrong[:MAX_PAIRS]]
    small = len(labels) <= MAX_MATRIX_CLASSES
    matrix = (
        [[cell_of(counts[row, column], totals[row], row == column) for column in labels] for row in labels]
        if small
        else None
    )
    return Confusion(labels, matrix, pairs, len(wrong))


def cell_of(count: int, total: int, is_right: bool) -> Cell:
    return Cell(count, count / total if total else 0.0, is_right)
