"""Jackknife: the variance of an estimate, from its values without each example."""

import numpy as np


def jackknife_variance(left_out: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Estimate the variance of a statistic of N examples; if anything, it is too large.

    Args:
        left_out: The statistic without each example; or, if many are alike, without one of each kind, (M,).
        counts: How many examples are of each kind, (M,); None if each is of its own.

    Source: Efron and Stein, "The jackknife estimate of variance", 1981.
    """
    counts = np.ones(len(left_out)) if counts is None else counts
    total = counts.sum()
    mean = counts @ left_out / total
    return float((total - 1) / total * (counts @ np.square(left_out - mean)))
