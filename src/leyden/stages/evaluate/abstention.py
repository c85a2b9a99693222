"""Abstention: the confidence below which the model is wrong too often to answer."""

from typing import Any

import torch

from leyden.stages.evaluate.predictions import Predictions
from leyden.statistics.wilson import wilson_interval

NO_ANSWERS = 2.0  # a threshold that no confidence reaches


def find_threshold(predictions: Predictions, precision: float) -> float:
    """Find the lowest confidence at and above which a `precision` fraction of predictions is correct, or NO_ANSWERS."""
    order = predictions.confidence.argsort(descending=True, stable=True)
    confidence, correct = predictions.confidence[order], predictions.is_correct[order].double()
    # A threshold cannot separate examples of equal confidence.
    is_last_of_equals = confidence != confidence.roll(-1)
    is_last_of_equals[-1:] = True
    is_enough = (correct.cumsum(0) / torch.arange(1, len(correct) + 1) >= precision) & is_last_of_equals
    return float(confidence[is_enough].min()) if is_enough.any() else NO_ANSWERS


def measure_abstention(
    validation: Predictions, test: Predictions, precision: float, confidence_level: float
) -> dict[str, Any]:
    """Choose the threshold on the validation split; measure coverage and precision of the test split's answers."""
    threshold = find_threshold(validation, precision)
    is_answered = test.confidence >= threshold
    answered, correct = int(is_answered.sum()), int((is_answered & test.is_correct).sum())
    return {
        "abstain_below": threshold,
        **proportion_metrics("abstain_coverage", answered, len(is_answered), confidence_level),
        **(proportion_metrics("abstain_precision", correct, answered, confidence_level) if answered else {}),
    }


def proportion_metrics(name: str, successes: int, total: int, confidence_level: float) -> dict[str, float]:
    low, high = wilson_interval(successes, total, confidence_level)
    return {name: successes / total, f"{name}_low": low, f"{name}_high": high}
