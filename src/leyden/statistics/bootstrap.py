"""Bootstrap: how much a metric would vary over other samples of test examples."""

import numpy as np

WEIGHTS_PER_CHUNK = 2**22  # 16 MB of float32: stays in cache, whatever the number of examples


def resample_sums(columns: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    """Sum each column over resamples of the examples, drawn with replacement.

    A resample is represented by how often it contains each example, so that the sums of many resamples are one matrix
    product. The resamples depend only on the seed and the number of examples: sums of two models on the same examples
    are paired.

    Args:
        columns: One row per example, (N, F).
        num_resamples: Number of resamples, of N examples each.
        seed: Seed of the resamples.

    Returns:
        Sums, float32 (num_resamples, F).

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 6.2.
    """
    count, generator = len(columns), np.random.default_rng(seed)
    columns = columns.astype(np.float32)
    sums = np.empty((num_resamples, columns.shape[1]), np.float32)
    chunk_size = max(1, WEIGHTS_PER_CHUNK // count)
    for start in range(0, num_resamples, chunk_size):
        resamples = generator.integers(count, size=(min(chunk_size, num_resamples - start), count))
        weights = np.empty(resamples.shape, np.float32)
        for row, resample in zip(weights, resamples, strict=True):
            row[:] = np.bincount(resample, minlength=count)
        sums[start : start + len(weights)] = weights @ columns
    return sums


def percentile_interval(values: np.ndarray, confidence_level: float) -> tuple[float, float]:
    """Compute the interval that holds the middle `confidence_level` of a metric's resampled values (R,).

    NaN values, of resamples for which the metric is undefined, are ignored.

    Source: Efron and Tibshirani, 1993, section 13.3.
    """
    bounds = [(1 - confidence_level) / 2, (1 + confidence_level) / 2]
    low, high = np.nanquantile(values.astype(np.float64), bounds)
    return float(low), float(high)
