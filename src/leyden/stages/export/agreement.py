"""How far a file's outputs may be from the checkpoint's, and how far they are."""

import math
from dataclasses import dataclass

import numpy as np

from leyden.outputs.reader import OutputReader

# Differences of this fraction of the outputs' spread are rounding in float32, which depends on the order of sums: they
# change no decision, such as the one between two logits that tie.
TIE_FRACTION = 1e-4
CHUNK_SIZE = 64  # examples


@dataclass(frozen=True)
class Tolerance:
    """How far an exported file may differ from its checkpoint.

    Args:
        max_relative_diff: Largest absolute difference of any output, divided by the outputs' spread: the standard
            deviation of the checkpoint's outputs over all examples and labels, or a regression target's over the
            training examples.
        agreement: Smallest mean fraction of equal decisions, in [0, 1]: the predicted class, the set of labels, numbers
            that are the same within a small part of their standard deviation, or the pixels' classes.
    """

    max_relative_diff: float = 5e-4
    agreement: float = 0.999

    def allows(self, relative_diff: float, agreement: float) -> bool:
        """Return whether a file may differ this much; never if a value is NaN."""
        return relative_diff <= self.max_relative_diff and agreement >= self.agreement

    def used_fraction(self, relative_diff: float, agreement: float) -> float:
        """Return which fraction of the tolerance is used up; above 1, it is exceeded."""
        shares = (relative_diff, self.max_relative_diff), (1 - agreement, 1 - self.agreement)
        return max(used / allowed if allowed > 0 else math.inf if used > 0 else 0.0 for used, allowed in shares)


@dataclass(frozen=True)
class Tolerances:
    """The tolerance for each precision."""

    fp32: Tolerance = Tolerance()
    fp16: Tolerance = Tolerance(0.03, 0.995)
    bf16: Tolerance = Tolerance(0.3, 0.98)
    int8: Tolerance = Tolerance(1.0, 0.98)
    int8_dynamic: Tolerance = Tolerance(0.5, 0.98)


class Comparison:
    """Compares outputs with the checkpoint's, float32 (N, K) or (N, K, H, W).

    The spread is the same for a model whose logits are all 1,000 times as large. Their range would grow with the number
    of examples, as its ends are two single logits.
    """

    def __init__(self, reader: OutputReader, expected: np.ndarray) -> None:
        self.reader, self.expected = reader, expected
        self.spread = reader.spread(expected)

    def relative_diff(self, outputs: np.ndarray) -> float:
        """Return the largest difference of any output, divided by the spread."""
        return relative_diff(outputs, self.expected[: len(outputs)], self.spread)

    def agreement(self, outputs: np.ndarray) -> np.ndarray:
        """Return to what fraction decisions are the same, float64 (N,), if differences were smaller by rounding."""
        rounding = np.asarray(TIE_FRACTION * self.spread, outputs.dtype)
        parts = [np.empty(0)]
        for start in range(0, len(outputs), CHUNK_SIZE):  # outputs for each pixel are large
            each, expected = (array[start : start + CHUNK_SIZE] for array in (outputs, self.expected[: len(outputs)]))
            nearer = each - np.clip(each - expected, -rounding, rounding)
            parts.append(self.reader.agreement(nearer, expected))
        return np.concatenate(parts)

    def mean_squared_error(self, outputs: np.ndarray) -> float:
        """Return the mean square of the outputs' differences in units of the spread."""
        with np.errstate(divide="ignore", invalid="ignore"):  # outputs that are all equal have no spread
            return float(np.square((outputs - self.expected) / self.spread).mean())


def relative_diff(outputs: np.ndarray, expected: np.ndarray, spread: np.ndarray | float) -> float:
    """Return the largest absolute difference, divided by the spread; infinity where that is 0, or one is NaN."""
    differences = np.abs(outputs - expected)
    with np.errstate(divide="ignore"):
        shares = np.divide(differences, spread, out=np.zeros_like(differences), where=differences != 0)
    return nan_to_inf(shares.max(initial=0))


def largest_diff(outputs: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest absolute difference; infinity if one is NaN, which no comparison would detect."""
    return nan_to_inf(np.abs(outputs - expected).max(initial=0))


def nan_to_inf(difference: float) -> float:
    return float(difference) if math.isfinite(difference) else math.inf
