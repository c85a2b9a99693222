"""The headline metrics of a split's predictions, each with an interval."""

import math
from typing import Any

from leyden.stages.evaluate.auroc import mean_auroc
from leyden.stages.evaluate.calibration import calibration_error, calibration_interval, sum_bins
from leyden.stages.evaluate.class_scores import count_cells, count_classes, effective_size, score_classes
from leyden.stages.evaluate.example_scores import event_size, score_examples
from leyden.stages.evaluate.predictions import Predictions
from leyden.statistics.score_intervals import fraction_interval, loss_interval
from leyden.statistics.wilson import wilson_interval


class Metrics(dict[str, float]):
    """Metrics by name; each with an interval is followed by `<name>_low` and `<name>_high`."""

    def add(self, name: str, value: float, interval: tuple[float, float]) -> None:
        self |= {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}


def metrics_with_intervals(
    predictions: Predictions, top_k: int, num_draws: int, confidence_level: float, seed: int
) -> dict[str, Any]:
    """Compute the metrics, their intervals, and the counts and the confidence level that these are based on.

    Each interval is of the value that an infinite test split of the same kind would have. In simulations of 4 and 40
    examples a class, 10 and 250 classes, and weak to nearly perfect models, intervals at 95% contained it in 89% to
    100% of the test splits. With few examples a class, means over classes are biased, and their intervals are widened
    accordingly. Where there are no more than `top_k` classes, the top-k accuracy is always 1, and left out.
    """
    metrics, count = Metrics(), len(predictions.labels)
    examples = score_examples(predictions, top_k)
    successes_by_name = {"accuracy": predictions.is_correct.numpy()}
    if top_k < len(predictions.class_names):
        successes_by_name[f"top_{top_k}_accuracy"] = examples.is_in_top
    for name, is_success in successes_by_name.items():
        successes = int(is_success.sum())
        metrics.add(name, successes / count, wilson_interval(successes, count, confidence_level))
    size = effective_size(count_classes(count_cells(predictions), len(predictions.class_names)))
    for name, score in score_classes(predictions).items():
        # Not narrower than if all classes were alike: the variance of a class without errors is not 0.
        variance = max(score.variance, score.value * (1 - score.value) / size)
        metrics.add(name, score.value, fraction_interval(score.value, score.bias, variance, size, confidence_level))
    auroc, variance = mean_auroc(predictions.log_probabilities, predictions.labels)
    if math.isfinite(auroc):
        metrics.add("auroc", auroc, fraction_interval(auroc, (0.0, 0.0), variance, count, confidence_level))
    for name, losses, largest in (
        ("log_loss", examples.log_loss, math.inf),
        ("brier_score", examples.brier_score, 2.0),
    ):
        metrics[name] = mean = float(losses.values.mean())
        if math.isfinite(mean) and (size := event_size(losses)) > 0:
            low, high = loss_interval(mean, size, count, confidence_level)
            metrics.add(name, mean, (low, min(largest, high)))
    bins = sum_bins(predictions)
    interval = calibration_interval(bins, count, num_draws, confidence_level, seed)
    metrics.add("calibration_error", calibration_error(bins, count), interval)
    errors = int((~predictions.is_correct).sum())
    return {**metrics, "examples": count, "errors": errors, "confidence_level": confidence_level}
