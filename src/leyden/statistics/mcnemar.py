"""Whether two models' accuracies on the same examples differ by more than noise."""

import math
from typing import Any

import numpy as np


def mcnemar_p_value(lost: int, gained: int) -> float:
    """Compute the exact two-sided p-value of McNemar's test.

    It is the probability that fair coin flips split the examples on which two models differ at least as unevenly.

    Args:
        lost: Number of examples that only the first model classifies correctly.
        gained: Number of examples that only the second model classifies correctly.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", 1947, in its
    binomial form.
    """
    total = lost + gained
    log_denominator = math.lgamma(total + 1) - total * math.log(2)
    tail = math.fsum(
        math.exp(log_denominator - math.lgamma(count + 1) - math.lgamma(total - count + 1))
        for count in range(min(lost, gained) + 1)
    )
    return min(1.0, 2 * tail)


def compare_paired(
    old: np.ndarray, new: np.ndarray, num_resamples: int, confidence_level: float, seed: int
) -> dict[str, Any]:
    """Compare the accuracies of two models on the same examples.

    The interval of the change is a paired bootstrap: drawing examples with replacement is drawing the counts of lost,
    gained and unchanged examples from a multinomial distribution. One lost and one gained example are added, so that
    models that differ nowhere have an interval too.

    Args:
        old: Which examples the old model classifies correctly, bool (N,).
        new: Which examples the new model classifies correctly, bool (N,).
        num_resamples: Number of bootstrap resamples.
        confidence_level: Of the interval, in (0, 1).
        seed: Seed of the bootstrap.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3; Bonett and Price, "Adjusted
    Wald confidence interval for a difference of binomial proportions based on paired data", 2012, for the addition.
    """
    lost, gained, total = int((old & ~new).sum()), int((new & ~old).sum()), len(old)
    draws = np.random.default_rng(seed).multinomial(
        total + 2, np.array([lost + 1, gained + 1, total - lost - gained]) / (total + 2), size=num_resamples
    )
    changes = (draws[:, 1] - draws[:, 0]) / (total + 2)
    low, high = np.quantile(changes, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
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
