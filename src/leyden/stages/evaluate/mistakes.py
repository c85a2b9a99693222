"""What the model got wrong, what it mixes up, and which labels may be wrong themselves."""

import numpy as np
import torch
from torch.nn import functional as F

from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.tables import Row

MISTAKES = ("path", "label", "prediction", "confidence", "label_probability")
CONFUSIONS = ("label", "prediction", "count", "share_of_label")
SUSPECTS = ("split", "path", "label", "suggested", "label_probability", "suggested_probability")


def list_mistakes(found: Predictions) -> list[Row]:
    """List all wrong answers, the surest first."""
    confidence, probabilities = found.confidence, found.probabilities
    rows = [row for row in confidence.argsort(descending=True, stable=True).tolist() if not found.is_right[row]]
    return [
        {
            "path": found.paths[row],
            "label": found.names[found.labels[row]],
            "prediction": found.names[found.predicted[row]],
            "confidence": f"{confidence[row]:.6f}",
            "label_probability": f"{probabilities[row, found.labels[row]]:.6f}",
        }
        for row in rows
    ]


def list_confusions(confusion: np.ndarray, names: list[str]) -> list[Row]:
    """List the pairs of classes of which one was taken for the other, the most frequent first."""
    wrong = confusion - np.diag(np.diag(confusion))
    pairs = sorted(zip(*np.nonzero(wrong), strict=True), key=lambda pair: -wrong[pair])
    return [
        {
            "label": names[label],
            "prediction": names[other],
            "count": int(wrong[label, other]),
            "share_of_label": wrong[label, other] / confusion[label].sum(),
        }
        for label, other in pairs
    ]


def list_suspects(found: Predictions, split: str) -> list[Row]:
    """List examples whose label is likely wrong, the likeliest first: the model, which never saw them, is sure of another class.

    Sure means: at least as sure as it is on average of examples that bear that class's label.

    Source: Northcutt et al., "Confident learning: estimating uncertainty in dataset labels", 2021, section 3.1; ranked by the margin.
    """
    probabilities, count = found.probabilities, len(found.names)
    own = F.one_hot(found.labels, count).bool()
    thresholds = probabilities.where(own, torch.nan).nanmean(dim=0)  # a class without an example suggests nothing
    suggested_probability, suggested = probabilities.where(probabilities >= thresholds, -1).max(dim=1)
    given = probabilities.gather(1, found.labels[:, None])[:, 0]
    suspect = (suggested_probability >= 0) & (suggested != found.labels)
    margins = (suggested_probability - given).where(suspect, -torch.inf)
    return [
        {
            "split": split,
            "path": found.paths[row],
            "label": found.names[found.labels[row]],
            "suggested": found.names[suggested[row]],
            "label_probability": f"{given[row]:.6f}",
            "suggested_probability": f"{suggested_probability[row]:.6f}",
        }
        for row in margins.argsort(descending=True, stable=True)[: int(suspect.sum())].tolist()
    ]
