"""The calibration error, how far confidence is from accuracy, with an interval."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leyden.stages.evaluate.predictions import Predictions

NUM_BINS = 10  # of confidence


class Bins(NamedTuple):
    """Sums over the predictions of each bin of confidence, float64 (NUM_BINS + 1,).

    Attributes:
        gap: Of confidence minus correctness (1 or 0).
        variance: Estimate of the variance of `gap`.
        variance_if_calibrated: The same, if the confidence is the probability of being correct.
    """

    gap: np.ndarray
    variance: np.ndarray
    variance_if_calibrated: np.ndarray


def bin_indices(confidence: Tensor) -> Tensor:
    """Return each confidence's bin (N,), as torchmetrics numbers them: a confidence of exactly 1 has a separate bin."""
    return torch.bucketize(confidence, torch.linspace(0, 1, NUM_BINS + 1), right=True) - 1


def sum_bins(predictions: Predictions) -> Bins:
    indices, confidence = bin_indices(predictions.confidence), predictions.confidence.double()
    gaps = confidence - predictions.is_correct.double()
    gap, squares, if_calibrated = (
        torch.bincount(indices, values, minlength=NUM_BINS + 1).numpy()
        for values in (gaps, gaps.square(), confidence * (1 - confidence))
    )
    return Bins(gap, squares - gap**2 / len(gaps), if_calibrated)


def calibration_error(bins: Bins, count: int) -> float:
    return float(np.abs(bins.gap).sum() / count)


def calibration_interval(
    bins: Bins, count: int, num_draws: int, confidence_level: float, seed: int
) -> tuple[float, float]:
    """Compute the interval of the calibration error of `count` predictions.

    The error is a sum of absolute values, so that noise biases it upwards. A parametric bootstrap, which draws the gaps
    of the bins from a normal distribution, adds the same bias once more; the basic interval subtracts it. That is the
    lower end, or 0 if a calibrated model could have as large an error by chance. The upper end subtracts half of it,
    since the bootstrap overstates the bias of gaps that are about as large as their noise, and adds z standard errors
    of the sum of the gaps: where some are small by chance, the bootstrap understates how much their absolute values
    vary. It is raised by z^2 / 2 errors, as in Wilson's interval: gaps without errors do not show how many errors are
    possible. In simulations at a level of 95%, the true error is above the upper end for at most 4% of test splits.

    Source: Davison and Hinkley, "Bootstrap methods and their application", 1997, equation 5.6; Broecker and Smith,
    "Increasing the reliability of reliability diagrams", 2007, section 3.
    """
    error, tail = calibration_error(bins, count), (1 - confidence_level) / 2
    noise = np.random.default_rng(seed).standard_normal((num_draws, NUM_BINS + 1))
    drawn = np.abs(bins.gap + noise * np.sqrt(bins.variance.clip(0))).sum(axis=1) / count
    by_chance = np.abs(noise * np.sqrt(bins.variance_if_calibrated.clip(0))).sum(axis=1) / count
    reflected_low = min(error, max(0.0, 2 * error - np.quantile(drawn, 1 - tail)))
    low = 0.0 if error <= np.quantile(by_chance, 1 - tail) else reflected_low
    z, half_bias = NormalDist().inv_cdf(1 - tail), (drawn.mean() - error) / 2
    margin = z * np.sqrt(bins.variance.clip(0).sum()) / count
    high = max(error, error - half_bias + margin) + z**2 / (2 * count)
    return float(low), float(min(1.0, high))
