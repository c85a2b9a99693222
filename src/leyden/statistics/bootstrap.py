"""Bootstrap: how much a mean would vary over other samples of examples."""

import numpy as np


def mean_interval(values: np.ndarray, num_resamples: int, confidence_level: float, seed: int) -> tuple[float, float]:
    """Compute the percentile bootstrap interval of the mean of values (N,).

    It holds the middle `confidence_level` of the means of resamples: N of the values, drawn with replacement.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(num_resamples)]
    low, high = np.quantile(means, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return float(low), float(high)
