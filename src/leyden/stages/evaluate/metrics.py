"""The headline metrics of a split's predictions, each with an interval."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from leyden.stages.evaluate.predictions import Predictions
from leyden.statistics.bootstrap import percentile_interval, resample_sums
from leyden.statistics.wilson import wilson_interval

NUM_BINS = 10  # of confidence


class Terms(NamedTuple):
    """Terms of which the metrics are functions of the sums: (N, columns) per example, or (R, columns) summed.

    `auroc_above` and `auroc_below` are the placements of DeLong et al.: of an example of a class, the fraction of the
    other classes' examples with a lower score for the class; of any other example, the fraction of the class's examples
    with a higher score, minus the AUROC.
    """

    num_examples: Tensor
    log_loss: Tensor
    brier_score: Tensor
    top_k_correct: Tensor
    bin_confidence: Tensor  # (..., NUM_BINS + 1), by bin of confidence
    bin_correct: Tensor
    correct: Tensor  # this one and those below: (..., K), by class
    actual: Tensor
    predicted: Tensor
    auroc_above: Tensor
    auroc_below: Tensor


def compute_terms(predictions: Predictions, top_k: int) -> Terms:
    """Compute each example's terms, float32."""
    num_classes, labels = len(predictions.class_names), predictions.labels
    actual, predicted = F.one_hot(labels, num_classes), F.one_hot(predictions.predicted, num_classes)
    bins = F.one_hot(bin_indices(predictions.confidence), NUM_BINS + 1)
    is_correct = predictions.is_correct[:, None]
    top_classes = predictions.log_probabilities.topk(min(top_k, num_classes)).indices
    above, below = placements(predictions.log_probabilities, labels)
    terms = Terms(
        num_examples=torch.ones(len(labels), 1),
        log_loss=-predictions.log_probabilities.gather(1, labels[:, None]),
        brier_score=(predictions.probabilities - actual).square().sum(dim=1, keepdim=True),
        top_k_correct=(top_classes == labels[:, None]).any(dim=1, keepdim=True),
        bin_confidence=bins * predictions.confidence[:, None],
        bin_correct=bins * is_correct,
        correct=actual * is_correct,
        actual=actual,
        predicted=predicted,
        auroc_above=above,
        auroc_below=below,
    )
    return Terms(*(columns.float() for columns in terms))


def bin_indices(confidence: Tensor) -> Tensor:
    """Return each confidence's bin (N,), as torchmetrics numbers them: a confidence of exactly 1 has a separate bin."""
    return torch.bucketize(confidence, torch.linspace(0, 1, NUM_BINS + 1), right=True) - 1


def placements(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rank the examples of each class among all others by the class's score (N, K); ties count half.

    Returns:
        `above` (N, K), nonzero for the class's examples only: its mean over them is the class's AUROC; and `below`
        (N, K), nonzero for all others only.

    Source: DeLong et al., "Comparing the areas under two or more correlated receiver operating characteristic curves",
    1988.
    """
    above, below = torch.zeros_like(scores, dtype=torch.float64), torch.zeros_like(scores, dtype=torch.float64)
    for index, class_scores in enumerate(scores.T.contiguous()):
        is_class = labels == index
        if 0 < is_class.sum() < len(labels):
            inside, outside = class_scores[is_class], class_scores[~is_class]
            above[is_class, index] = fraction_below(inside, outside)
            below[~is_class, index] = 1 - fraction_below(outside, inside) - above[is_class, index].mean()
    return above, below


def fraction_below(values: Tensor, others: Tensor) -> Tensor:
    """Return the fraction of `others` below each value, (N,); ties count half."""
    ordered = others.sort().values
    counts = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    return counts.double() / (2 * len(others))


def metrics_from_sums(sums: Terms, top_k: int) -> dict[str, Tensor]:
    """Compute the metrics (R,) of R sets of examples; a class missing from a set does not enter its means over classes.

    AUROC is exact to first order in a resample's weights (Hajek's projection of a two-sample statistic): the product of
    two deviations, of the order of one example's share of a class, is left out.
    """
    count = sums.num_examples[:, 0]
    num_others = count[:, None] - sums.actual
    precision = (sums.correct / sums.predicted.clamp(min=1)).where(sums.actual + sums.predicted > 0, torch.nan)
    auroc = (sums.auroc_above / sums.actual + sums.auroc_below / num_others).clamp(max=1)
    return {
        "accuracy": sums.correct.sum(dim=1) / count,
        "balanced_accuracy": (sums.correct / sums.actual).nanmean(dim=1),
        "macro_precision": precision.nanmean(dim=1),
        "macro_f1": (2 * sums.correct / (sums.actual + sums.predicted)).nanmean(dim=1),
        f"top_{top_k}_accuracy": sums.top_k_correct[:, 0] / count,
        "auroc": auroc.where((sums.actual > 0) & (num_others > 0), torch.nan).nanmean(dim=1),
        "log_loss": sums.log_loss[:, 0] / count,
        "brier_score": sums.brier_score[:, 0] / count,
        "calibration_error": (sums.bin_confidence - sums.bin_correct).abs().sum(dim=1) / count,
    }


def compute_metrics(predictions: Predictions, top_k: int) -> dict[str, float]:
    """Compute the metrics of all examples.

    Means over classes are computed here, in float64 and without the classes that are missing: those of torchmetrics
    come to 1.0000001.
    """
    sums = sum_terms(compute_terms(predictions, top_k))
    probabilities, labels, num_classes = predictions.probabilities, predictions.labels, len(predictions.class_names)
    top_k_accuracy = multiclass_accuracy(
        probabilities, labels, num_classes, average="micro", top_k=min(top_k, num_classes)
    )
    return {name: float(value) for name, value in metrics_from_sums(sums, top_k).items()} | {
        "accuracy": float(multiclass_accuracy(probabilities, labels, num_classes, average="micro")),
        f"top_{top_k}_accuracy": float(top_k_accuracy),
        "calibration_error": float(multiclass_calibration_error(probabilities, labels, num_classes, n_bins=NUM_BINS)),
    }


def sum_terms(terms: Terms) -> Terms:
    """Sum the terms of all examples, float64 (1, columns)."""
    return Terms(*(columns.sum(dim=0, keepdim=True, dtype=torch.float64) for columns in terms))


def resample_metrics(terms: Terms, top_k: int, num_resamples: int, seed: int) -> dict[str, Tensor]:
    """Compute the metrics of bootstrap resamples (R,)."""
    sums = torch.from_numpy(resample_sums(torch.cat(terms, dim=1).numpy(), num_resamples, seed))
    return metrics_from_sums(Terms(*sums.split([columns.shape[1] for columns in terms], dim=1)), top_k)


def compute_intervals(
    predictions: Predictions,
    metrics: dict[str, float],
    top_k: int,
    num_resamples: int,
    confidence_level: float,
    seed: int,
) -> dict[str, float]:
    """Compute `<metric>_low` and `<metric>_high`.

    Intervals of accuracies are Wilson's, as resamples of a perfect score are all perfect; the others are bootstrap
    intervals. A metric that has the same value in every resample has none.
    """
    terms = compute_terms(predictions, top_k)
    proportions = {"accuracy": terms.correct, f"top_{top_k}_accuracy": terms.top_k_correct}
    bounds: dict[str, float] = {}
    for name, values in resample_metrics(terms, top_k, num_resamples, seed).items():
        if name in proportions:
            low, high = wilson_interval(int(proportions[name].sum()), len(predictions.labels), confidence_level)
        elif values.nan_to_num(0).std() < 1e-9:
            continue
        else:
            low, high = percentile_interval(values.numpy(), confidence_level)
        if name == "calibration_error":
            noise = calibration_error_by_chance(predictions.confidence, num_resamples, confidence_level, seed)
            low, high = reflect_interval(low, high, metrics[name], noise)
        bounds |= {f"{name}_low": low, f"{name}_high": high}
    return bounds


def reflect_interval(low: float, high: float, error: float, error_by_chance: float) -> tuple[float, float]:
    """Turn a percentile interval of the calibration error into a basic bootstrap interval, which contains the error.

    The error is a sum of absolute values, which noise alone increases, and resampling increases once more. The interval
    begins at 0 where a calibrated model may have as large an error by chance.

    Source: Davison and Hinkley, "Bootstrap methods and their application", 1997, equation 5.6.
    """
    reflected_low = 0.0 if error <= error_by_chance else min(error, max(0.0, 2 * error - high))
    return reflected_low, max(error, 2 * error - low)


def calibration_error_by_chance(confidence: Tensor, num_resamples: int, confidence_level: float, seed: int) -> float:
    """Compute the error that a calibrated model exceeds in (1 - confidence_level) / 2 of all test splits.

    Each prediction is then correct with the probability of its confidence (N,), so that the number of correct ones in a
    bin is nearly normally distributed.

    Source: Broecker and Smith, "Increasing the reliability of reliability diagrams", 2007, section 3.
    """
    variances = F.one_hot(bin_indices(confidence), NUM_BINS + 1).float().T @ (confidence * (1 - confidence))
    noise = torch.randn(num_resamples, NUM_BINS + 1, generator=torch.Generator().manual_seed(seed))
    gaps = noise * variances.clamp(min=0).sqrt()
    return percentile_interval((gaps.abs().sum(dim=1) / len(confidence)).numpy(), confidence_level)[1]


def metrics_with_intervals(
    predictions: Predictions, top_k: int, num_resamples: int, confidence_level: float, seed: int
) -> dict[str, Any]:
    """Compute the metrics, their intervals, and the counts and the confidence level that these are based on."""
    metrics = compute_metrics(predictions, top_k)
    return {
        **metrics,
        **compute_intervals(predictions, metrics, top_k, num_resamples, confidence_level, seed),
        "examples": len(predictions.labels),
        "errors": int((~predictions.is_correct).sum()),
        "confidence_level": confidence_level,
    }
