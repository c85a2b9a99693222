"""How far a file's logits may be from the checkpoint's, and how far they are."""

import math
from dataclasses import dataclass

import numpy as np

# The checkpoint's top two logits count as a tie if they differ by less than this fraction of the logits' spread:
# rounding in float32, which depends on the order of sums, then decides between them.
TIE_FRACTION = 1e-4


@dataclass(frozen=True)
class Tolerance:
    """How far an exported file may differ from its checkpoint.

    Args:
        max_relative_diff: Largest absolute difference of any logit, divided by the standard deviation of the
            checkpoint's logits over all examples and labels.
        top1_agreement: Smallest fraction of examples with the same predicted label, in [0, 1].
    """

    max_relative_diff: float = 5e-4
    top1_agreement: float = 0.999

    def allows(self, relative_diff: float, agreement: float) -> bool:
        """Return whether a file may differ this much; never if a value is NaN."""
        return relative_diff <= self.max_relative_diff and agreement >= self.top1_agreement

    def used_fraction(self, relative_diff: float, agreement: float) -> float:
        """Return which fraction of the tolerance is used up; above 1, it is exceeded."""
        shares = (relative_diff, self.max_relative_diff), (1 - agreement, 1 - self.top1_agreement)
        return max(used / allowed if allowed > 0 else math.inf if used > 0 else 0.0 for used, allowed in shares)


@dataclass(frozen=True)
class Tolerances:
    """The tolerance for each precision."""

    fp32: Tolerance = Tolerance()
    fp16: Tolerance = Tolerance(0.03, 0.995)
    bf16: Tolerance = Tolerance(0.3, 0.98)
    int8: Tolerance = Tolerance(1.0, 0.98)
    int8_dynamic: Tolerance = Tolerance(0.5, 0.98)


def logit_spread(logits: np.ndarray) -> float:
    """Return the standard deviation of all logits (N, K): the unit of `max_relative_diff`.

    It is the same for a model whose logits are all 1,000 times as large. The range would grow with the number of
    examples, as its ends are two single logits.
    """
    return float(logits.astype(np.float64).std())


def divide_by_spread(difference: float, spread: float) -> float:
    return difference / spread if spread else math.inf if difference else 0.0


def find_agreeing(logits: np.ndarray, expected: np.ndarray, spread: float) -> np.ndarray:
    """Find the examples with the checkpoint's predicted label, or another one that ties with it: bool (N,)."""
    predicted = np.take_along_axis(expected, logits.argmax(1)[:, None], axis=1)[:, 0]
    return expected.max(1) - predicted <= TIE_FRACTION * spread


def largest_diff(logits: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest absolute difference; infinity if one is NaN, which no comparison would detect."""
    return nan_to_inf(np.abs(logits - expected).max(initial=0))


def nan_to_inf(difference: float) -> float:
    return float(difference) if math.isfinite(difference) else math.inf
