"""When a model should rather not answer: the confidence below which it errs too often."""

from typing import Any

from torch import Tensor

from leyden.stages.evaluate.predictions import Predictions
from leyden.statistics.wilson import wilson_interval


def find_threshold(found: Predictions, precision: float) -> float:
    """Give the lowest confidence from which on up at least this share of answers is right; above 1 where there is none."""
    order = found.confidence.argsort(descending=True, stable=True)
    confidence, right = found.confidence[order], found.is_right[order].double()
    precisions = right.cumsum(0) / (1 + Tensor(range(len(right))).double())
    is_last = confidence != confidence.roll(-1)  # of examples that are equally sure: none of them can be answered alone
    is_last[-1:] = True
    enough = (precisions >= precision) & is_last
    return float(confidence[enough].min()) if enough.any() else 2.0


def abstain(validation: Predictions, test: Predictions, precision: float, confidence_level: float) -> dict[str, Any]:
    """Choose the threshold on one split; tell what it gives on another: the share answered, and the share of answers that are right."""
    threshold = find_threshold(validation, precision)
    answered = test.confidence >= threshold
    count, right = int(answered.sum()), int((answered & test.is_right).sum())
    figures: dict[str, Any] = {"abstain_below": threshold, "abstain_coverage": count / len(answered)}
    figures["abstain_coverage_low"], figures["abstain_coverage_high"] = wilson_interval(
        count, len(answered), confidence_level
    )
    if count:
        figures["abstain_precision"] = right / count
        figures["abstain_precision_low"], figures["abstain_precision_high"] = wilson_interval(
            right, count, confidence_level
        )
    return figures
