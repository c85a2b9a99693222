"""Labels that are probably wrong, and how many of them to expect."""

import torch
from torch import Tensor

from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.results import Row
from leyden.statistics.wilson import wilson_interval

SUSPECT_COLUMNS = (
    *("split", "path", "label", "suggested"),
    *("label_probability", "suggested_probability", "wrong_probability"),
)
NUM_ITERATIONS = 300
FIRST_NOISE_FRACTION = 0.05
TEMPERATURES = (1.0, 1.25, 1.5, 2.0, 3.0)


def list_suspects(predictions: Predictions, split: str, confidence_level: float) -> list[Row]:
    """List examples whose label may be wrong, the most probable first.

    The model, which was not trained on them, predicts another class with at least the mean confidence that it has in
    that class for examples labelled with it. There are none if the model is not clearly better than a constant guess:
    it then knows too little to question a label. The expected number of wrong ones is the sum of `wrong_probability`,
    which is far less than their number if the model is merely unsure or overconfident.

    Source: Northcutt et al., "Confident learning: estimating uncertainty in dataset labels", 2021, section 3.1; ranked
    by the margin.
    """
    if not beats_constant_guess(predictions, confidence_level):
        return []
    names, label_probability = predictions.class_names, predictions.label_probability
    totals = torch.zeros(len(names)).index_add(0, predictions.labels, label_probability)
    # NaN for a class without examples, which is then never suggested.
    thresholds = totals / predictions.labels.bincount(minlength=len(names))
    best = []
    for log_probabilities, _ in predictions.blocks():
        probabilities = log_probabilities.exp()
        best.append(probabilities.where(probabilities >= thresholds, -1).max(dim=1))
    suggested_probability, suggested = (torch.cat(parts) for parts in zip(*best, strict=True))
    wrong_probability = estimate_wrong(predictions)
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
            "wrong_probability": f"{wrong_probability[index]:.6f}",
        }
        for index in margins.argsort(descending=True, stable=True)[: int(is_suspect.sum())].tolist()
    ]


def beats_constant_guess(predictions: Predictions, confidence_level: float) -> bool:
    """Return whether the accuracy's interval lies above the fraction of the most frequent label."""
    num_correct, total = int(predictions.is_correct.sum()), len(predictions.labels)
    low, _ = wilson_interval(num_correct, total, confidence_level)
    return low > int(predictions.labels.bincount().max()) / total


def estimate_wrong(predictions: Predictions) -> Tensor:
    """Estimate the probability of each label to be wrong (N,), from the probability that the model gives to it.

    The model of the labels: a fraction of them, the same for all classes, was replaced by a random other class; and the
    model's probabilities may be too close to 0 and 1, by one of TEMPERATURES, which makes its errors look like wrong
    labels. The maximum-likelihood estimate of both is found by expectation maximisation for each temperature. If the
    probabilities alone explain how often the model disagrees with the labels, the fraction is near 0: a weak model
    suspects no label.
    """
    num_classes = len(predictions.class_names)
    fits = [fit_noise(predictions.label_probability_at(temperature), num_classes) for temperature in TEMPERATURES]
    return max(fits, key=lambda fit: fit[0])[1]


def fit_noise(label_probability: Tensor, num_classes: int) -> tuple[float, Tensor]:
    """Return the log-likelihood of the most likely fraction of wrong labels, and each label's probability to be one."""
    right = label_probability.double()
    other = (1 - right) / max(1, num_classes - 1)
    wrong, fraction = torch.zeros_like(right), FIRST_NOISE_FRACTION
    for _ in range(NUM_ITERATIONS):
        wrong = (fraction * other / (fraction * other + (1 - fraction) * right)).nan_to_num(0)
        fraction = float(wrong.mean())
    return float((fraction * other + (1 - fraction) * right).log().sum()), wrong


def count_expected(suspects: list[Row]) -> int:
    """Return how many of the suspects are expected to be wrong."""
    return round(sum(float(row["wrong_probability"]) for row in suspects))
