"""How far figures would move with other test examples, by resampling them."""

import numpy as np
import torch
from torch import Tensor

from leyden.errors import UserError

WEIGHTS_PER_CHUNK = 2**22  # 16 MB of them stay in the cache's reach, whatever the number of examples


def check_level(confidence_level: float, verb: str) -> None:
    if not 0 < confidence_level < 1:
        raise UserError(f"{verb}.confidence_level must lie in (0, 1); got {confidence_level}; give another, 0.95 say")


def resample_sums(columns: Tensor, num_resamples: int, seed: int) -> Tensor:
    """Sum each column (N, F) over draws of N examples with replacement: float32 (num_resamples, F).

    A draw is how often it holds each example, so that the sums of many draws are one product of matrices. The same seed
    and number of examples give the same draws: what two models make of them is paired.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 6.2.
    """
    count, generator = len(columns), np.random.default_rng(seed)
    columns, sums = columns.float(), []
    chunk = max(1, WEIGHTS_PER_CHUNK // count)
    for start in range(0, num_resamples, chunk):
        rows = min(chunk, num_resamples - start)
        weights = np.stack(
            [np.bincount(drawn, minlength=count) for drawn in generator.integers(count, size=(rows, count))]
        )
        sums.append(torch.from_numpy(weights).float() @ columns)
    return torch.cat(sums)


def percentile_interval(draws: Tensor, confidence_level: float) -> tuple[float, float]:
    """Give the middle share of draws (R,); those without a value, where a class was not drawn, do not count.

    Source: Efron and Tibshirani, 1993, section 13.3.
    """
    low, high = np.nanquantile(draws.double().numpy(), [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return float(low), float(high)
