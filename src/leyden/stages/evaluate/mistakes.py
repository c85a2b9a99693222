"""What the model classifies incorrectly, which classes it confuses, and which labels may be wrong."""

import numpy as np
import torch
from torch.nn import functional as F

from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.tables import Row

MISTAKE_COLUMNS = ("path", "label", "prediction", "confidence", "label_probability")
CONFUSION_COLUMNS = ("label", "prediction", "count", "share_of_label")
SUSPECT_COLUMNS = ("split", "path", "label", "suggested", "label_probability", "suggested_probability")


def list_mistakes(predictions: Predictions) -> list[Row]:
    """List all incorrect predictions, the most confident first."""
    names, confidence, predicted = predictions.class_names, predictions.confidence, predictions.predicted
    is_correct = predictions.is_correct
    label_probability = predictions.probabilities.gather(1, predictions.labels[:, None])[:, 0]
    return [
        {
            "path": predictions.paths[index],
            "label": names[predictions.labels[index]],
            "prediction": names[predicted[index]],
            "confidence": f"{confidence[index]:.6f}",
            "label_probability": f"{label_probability[index]:.6f}",
        }
        for index in confidence.argsort(descending=True, stable=True).tolist()
        if not is_correct[index]
    ]


def list_confusions(confusion: np.ndarray, class_names: list[str]) -> list[Row]:
    """List the pairs of classes of which one was predicted as the other, the most frequent first."""
    off_diagonal = confusion - np.diag(np.diag(confusion))
    pairs = sorted(zip(*np.nonzero(off_diagonal), strict=True), key=lambda pair: -off_diagonal[pair])
    return [
        {
            "label": class_names[actual],
            "prediction": class_names[predicted],
            "count": int(confusion[actual, predicted]),
            "share_of_label": confusion[actual, predicted] / confusion[actual].sum(),
        }
        for actual, predicted in pairs
    ]


def list_suspects(predictions: Predictions, split: str) -> list[Row]:
    """List examples whose label is probably wrong, the most probable first.

    The model, which was not trained on them, predicts another class with at least the mean confidence that it has in
    that class for examples labelled with it.

    Source: Northcutt et al., "Confident learning: estimating uncertainty in dataset labels", 2021, section 3.1; ranked
    by the margin.
    """
    probabilities, names = predictions.probabilities, predictions.class_names
    is_label = F.one_hot(predictions.labels, len(names)).bool()
    # NaN for a class without examples, which is then never suggested.
    thresholds = probabilities.where(is_label, torch.nan).nanmean(dim=0)
    suggested_probability, suggested = probabilities.where(probabilities >= thresholds, -1).max(dim=1)
    label_probability = probabilities.gather(1, predictions.labels[:, None])[:, 0]
    is_suspect = (suggested_probability >= 0) & (suggested != predictions.labels)
    margins = (suggested_probability - label_probability).where(is_suspect, -torch.inf)
    return [
        {
            "split": split,
            "path": predictions.paths[index],
            "label": names[predictions.labels[index]],
            "suggested": names[suggested[index]],
            "label_probability": f"{label_probability[index]:.6f}",
            "suggested_probability": f"{suggested_probability[index]:.6f}",
        }
        for index in margins.argsort(descending=True, stable=True)[: int(is_suspect.sum())].tolist()
    ]
