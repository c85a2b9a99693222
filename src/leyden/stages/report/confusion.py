"""Which classes are confused with which."""

from collections import Counter
from dataclasses import dataclass

MAX_MATRIX_CLASSES = 30  # a wider matrix is unreadable, and its size grows with the square
MAX_PAIRS = 20


@dataclass
class Confusion:
    """The confusion matrix (actual classes in rows; empty if it would be too large) and the most confused pairs.

    A cell holds the number of examples, and this number as a fraction in [0, 1] of the actual class's examples.
    A pair holds the actual class, the predicted class and the same two numbers.
    """

    labels: list[str]
    matrix: list[list[tuple[int, float]]]
    pairs: list[tuple[str, str, int, float]]
    num_pairs: int


def count_confusion(outcomes: list[tuple[str, str]], labels: list[str]) -> Confusion:
    """Count outcomes (label, prediction)."""
    counts = Counter(outcomes)
    totals = Counter(label for label, _ in outcomes)
    errors = [(pair, count) for pair, count in counts.items() if pair[0] != pair[1]]
    errors.sort(key=lambda error: (-error[1], error[0]))
    rows = labels if len(labels) <= MAX_MATRIX_CLASSES else []
    matrix = [[(n := counts[row, column], n / max(totals[row], 1)) for column in labels] for row in rows]
    pairs = [(*pair, count, count / totals[pair[0]]) for pair, count in errors[:MAX_PAIRS]]
    return Confusion(labels, matrix, pairs, len(errors))
