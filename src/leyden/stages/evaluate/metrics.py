"""The headline figures of a split's predictions, each with an interval."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from leyden.stages.evaluate.predictions import Predictions
from leyden.statistics.bootstrap import percentile_interval, resample_sums
from leyden.statistics.wilson import wilson_interval

NUM_BINS = 10  # of confidence
LESS_IS_BETTER = ("log_loss", "brier_score", "calibration_error", "errors")


class Sums(NamedTuple):
    """What the figures of a draw of examples are made of: a column each, summed over the draw, (R, columns).

    `above` and `below` are what DeLong et al. call placements: of an example of a class, the share of other classes' examples
    that score lower for it; of another, the share of the class's that score higher, less the whole AUROC.
    """

    examples: Tensor
    log_loss: Tensor
    brier_score: Tensor
    in_top: Tensor
    confidence_sum: Tensor  # of each bin
    surety_right: Tensor
    right: Tensor  # of each class
    actual: Tensor
    predicted: Tensor
    above: Tensor
    below: Tensor


def columns_of(found: Predictions, top_k: int) -> Sums:
    """Give what each example (N, columns) adds to the sums."""
    num_classes, labels = len(found.names), found.labels
    actual, predicted = F.one_hot(labels, num_classes), F.one_hot(found.predicted, num_classes)
    bins = F.one_hot(bins_of(found.confidence), NUM_BINS + 1)
    right = found.is_right[:, None]
    best = found.log_probabilities.topk(min(top_k, num_classes)).indices
    above, below = placements(found.log_probabilities, labels)
    columns = [
        torch.ones(len(labels), 1),
        -found.log_probabilities.gather(1, labels[:, None]),
        (found.probabilities - actual).square().sum(dim=1, keepdim=True),
        (best == labels[:, None]).any(dim=1, keepdim=True),
        bins * found.confidence[:, None],
        bins * right,
        actual * right,
        actual,
        predicted,
        above,
        below,
    ]
    return Sums(*(column.float() for column in columns))


def bins_of(confidence: Tensor) -> Tensor:
    """Number the bins of confidence (N,) as torchmetrics does; a confidence of exactly 1 has one of its own."""
    return torch.bucketize(confidence, torch.linspace(0, 1, NUM_BINS + 1), right=True) - 1


def placements(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rank the examples of each class among the others by the class's score (N, K); ties count half.

    Returns:
        `above` (N, K), 0 but for the class's own examples: its mean over these is the class's AUROC. And `below` (N, K), 0 but for others.

    Source: DeLong et al., "Comparing the areas under two or more correlated receiver operating characteristic curves", 1988.
    """
    above, below = torch.zeros_like(scores, dtype=torch.float64), torch.zeros_like(scores, dtype=torch.float64)
    for number, column in enumerate(scores.T.contiguous()):
        own = labels == number
        if 0 < own.sum() < len(labels):
            inside, others = column[own], column[~own]
            above[own, number] = share_below(inside, others)
            below[~own, number] = 1 - share_below(others, inside) - above[own, number].mean()
    return above, below


def share_below(values: Tensor, others: Tensor) -> Tensor:
    """Give the share of `others` that lie below each value, (N,)."""
    ordered = others.sort().values
    counts = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    return counts.double() / (2 * len(others))


def figures_of(sums: Sums) -> dict[str, Tensor]:
    """Compute the figures of draws (R,) from their sums; a class that a draw lacks does not enter the means over classes.

    AUROC is exact to first order in a draw's weights (Hajek's projection of a two-sample statistic): its product of two
    deviations, of the order of one example's share of a class, is left out.
    """
    count = sums.examples[:, 0]
    others = count[:, None] - sums.actual
    present = sums.actual + sums.predicted > 0
    precision = (sums.right / sums.predicted.clamp(min=1)).where(present, torch.nan)
    f1 = 2 * sums.right / (sums.actual + sums.predicted)
    auroc = (sums.above / sums.actual + sums.below / others).clamp(max=1)
    return {
        "accuracy": sums.right.sum(dim=1) / count,
        "balanced_accuracy": (sums.right / sums.actual).nanmean(dim=1),
        "macro_precision": precision.nanmean(dim=1),
        "macro_f1": f1.nanmean(dim=1),
        "top_accuracy": sums.in_top[:, 0] / count,
        "auroc": auroc.where((sums.actual > 0) & (others > 0), torch.nan).nanmean(dim=1),
        "log_loss": sums.log_loss[:, 0] / count,
        "brier_score": sums.brier_score[:, 0] / count,
        "calibration_error": (sums.confidence_sum - sums.surety_right).abs().sum(dim=1) / count,
    }


def score(found: Predictions, top_k: int) -> dict[str, float]:
    """Compute the headline figures. Means over classes are of those that are there, and in float64: torchmetrics' come to 1.0000001."""
    figures = {name: float(value) for name, value in figures_of(total(columns_of(found, top_k))).items()}
    probabilities, labels, num_classes = found.probabilities, found.labels, len(found.names)
    figures |= {
        "accuracy": float(multiclass_accuracy(probabilities, labels, num_classes, average="micro")),
        "top_accuracy": float(
            multiclass_accuracy(probabilities, labels, num_classes, average="micro", top_k=min(top_k, num_classes))
        ),
        "calibration_error": float(multiclass_calibration_error(probabilities, labels, num_classes, n_bins=NUM_BINS)),
    }
    return named(figures, top_k)


def named(figures: dict[str, float], top_k: int) -> dict[str, float]:
    """Say in the name how many classes count as the top."""
    return {f"top_{top_k}_accuracy" if name == "top_accuracy" else name: value for name, value in figures.items()}


def total(columns: Sums) -> Sums:
    return Sums(*(column.sum(dim=0, keepdim=True, dtype=torch.float64) for column in columns))


def draw(columns: Sequence[Sums], num_resamples: int, seed: int) -> list[dict[str, Tensor]]:
    """Compute the figures of resamples (R,), for several models of the same examples on the same draws."""
    blocks = [block for model in columns for block in model]
    parts = resample_sums(torch.cat(blocks, dim=1), num_resamples, seed).split(
        [block.shape[1] for block in blocks], dim=1
    )
    size = len(Sums._fields)
    return [figures_of(Sums(*parts[number * size : (number + 1) * size])) for number in range(len(columns))]


def intervals_of(
    found: Predictions, figures: dict[str, float], top_k: int, num_resamples: int, level: float, seed: int
) -> dict[str, float]:
    """Give `<figure>_low` and `<figure>_high`: Wilson's for shares of examples, which a resample of a perfect score would not have; else bootstrap.

    What no resample changes has none. The calibration error is a sum of sizes, which noise alone raises, in a resample once more: its
    interval is turned round the figure (Davison and Hinkley, "Bootstrap methods and their application", 1997, equation 5.6), holds it,
    and begins at 0 where a calibrated model may show as much.
    """
    columns = columns_of(found, top_k)
    bounds: dict[str, float] = {}
    for name, draws in draw([columns], num_resamples, seed)[0].items():
        written = next(iter(named({name: 0.0}, top_k)))
        if name in ("accuracy", "top_accuracy"):
            right = columns.right if name == "accuracy" else columns.in_top
            low, high = wilson_interval(int(right.sum()), len(found.labels), level)
        elif draws.nan_to_num(0).std() < 1e-9:
            continue
        else:
            low, high = percentile_interval(draws, level)
        if name == "calibration_error":
            point = figures[written]
            by_chance = point <= error_by_chance(found.confidence, num_resamples, level, seed)
            low, high = 0.0 if by_chance else min(point, max(0.0, 2 * point - high)), max(point, 2 * point - low)
        bounds |= {f"{written}_low": low, f"{written}_high": high}
    return bounds


def error_by_chance(confidence: Tensor, num_draws: int, level: float, seed: int) -> float:
    """Give the calibration error that a calibrated model of these confidences (N,) exceeds in (1 - level) / 2 of all test splits.

    Each answer is then right by its confidence, so that a bin's sum of right ones is nearly normal.

    Source: Broecker and Smith, "Increasing the reliability of reliability diagrams", 2007, section 3.
    """
    variances = F.one_hot(bins_of(confidence), NUM_BINS + 1).float().T @ (confidence * (1 - confidence))
    gaps = (
        torch.randn(num_draws, NUM_BINS + 1, generator=torch.Generator().manual_seed(seed))
        * variances.clamp(min=0).sqrt()
    )
    return percentile_interval(gaps.abs().sum(dim=1) / len(confidence), level)[1]
