"""Whether two models differ by more than noise on the same examples. Without torch: the report asks as well."""

import math
from typing import Any

import numpy as np


def mcnemar_p_value(lost: int, gained: int) -> float:
    """Give the probability that a fair coin splits the examples on which two models differ at least as unevenly, exactly.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", 1947, in its binomial form.
    """
    total = lost + gained
    log_all = math.lgamma(total + 1) - total * math.log(2)
    tail = math.fsum(
        math.exp(log_all - math.lgamma(few + 1) - math.lgamma(total - few + 1)) for few in range(min(lost, gained) + 1)
    )
    return min(1.0, 2 * tail)


def compare_paired(
    old: np.ndarray, new: np.ndarray, num_resamples: int, confidence_level: float, seed: int
) -> dict[str, Any]:
    """Compare which examples, bool (N,), two models got right.

    The interval is of pairs: both models saw the same examples, so that only those on which they differ count. Drawing
    examples with replacement is drawing three counts from a multinomial.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    lost, gained, total = int((old & ~new).sum()), int((new & ~old).sum()), len(old)
    draws = np.random.default_rng(seed).multinomial(
        total, np.array([lost, gained, total - lost - gained]) / total, size=num_resamples
    )
    low, high = np.quantile(
        (draws[:, 1] - draws[:, 0]) / total, [(1 - confidence_level) / 2, (1 + confidence_level) / 2]
    )
    return {
        "accuracy_old": float(old.mean()),
        "accuracy_new": float(new.mean()),
        "accuracy_change": (gained - lost) / total,
        "accuracy_change_low": float(low),
        "accuracy_change_high": float(high),
        "accuracy_change_p_value": mcnemar_p_value(lost, gained),
        "lost": lost,
        "gained": gained,
        "examples": total,
        "confidence_level": confidence_level,
    }
