"""How far figures would move with other test examples: resampling, and tests of two models on the same examples."""

from typing import Any

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
        weights = np.stack([np.bincount(drawn, minlength=count) for drawn in generator.integers(count, size=(rows, count))])
        sums.append(torch.from_numpy(weights).float() @ columns)
    return torch.cat(sums)


def percentile_interval(draws: Tensor, confidence_level: float) -> tuple[float, float]:
    """Give the middle share of draws (R,); those without a value, where a class was not drawn, do not count.

    Source: Efron and Tibshirani, 1993, section 13.3.
    """
    low, high = np.nanquantile(draws.double().numpy(), [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return float(low), float(high)


def mcnemar(lost: int, gained: int) -> float:
    """Give the probability that a fair coin splits the examples on which two models differ at least as unevenly, exactly.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", 1947, in its binomial form.
    """
    total = lost + gained
    few = torch.arange(min(lost, gained) + 1, dtype=torch.float64)
    size = torch.tensor(float(total), dtype=torch.float64)
    ways = torch.lgamma(size + 1) - torch.lgamma(few + 1) - torch.lgamma(size - few + 1)
    return min(1.0, 2 * float((ways - total * np.log(2)).exp().sum()))


def changes(old: Tensor, new: Tensor, num_resamples: int, confidence_level: float, seed: int) -> dict[str, Any]:
    """Compare which examples, bool (N,), two models got right.

    The interval is of pairs: both models saw the same examples, so that only those on which they differ count. Drawing
    examples with replacement is drawing three counts from a multinomial.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    lost, gained, total = int((old & ~new).sum()), int((new & ~old).sum()), len(old)
    draws = np.random.default_rng(seed).multinomial(total, np.array([lost, gained, total - lost - gained]) / total, size=num_resamples)
    low, high = np.quantile((draws[:, 1] - draws[:, 0]) / total, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return {
        "accuracy_old": float(old.float().mean()),
        "accuracy_new": float(new.float().mean()),
        "accuracy_change": (gained - lost) / total,
        "accuracy_change_low": float(low),
        "accuracy_change_high": float(high),
        "accuracy_change_p_value": mcnemar(lost, gained),
        "lost": lost,
        "gained": gained,
        "examples": total,
        "confidence_level": confidence_level,
    }
