"""Descriptions of the metrics in metrics.json, and each as text with its interval."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from leyden.outputs.reader import OutputReader
from leyden.outputs.score_format import format_value, score_title

DESCRIPTIONS = {  # of tasks with one label for each example: what it is, and what is done with the example
    "accuracy": "fraction of examples {participle} correctly",
    "balanced_accuracy": "accuracy with every {label} weighted equally",
    "macro_f1": "precision and recall combined, with every {label} weighted equally",
    "auroc": "probability that an example of a {label} scores higher for that {label} than an example of another "
    "{label}; 0.5 is guessing",
    "macro_precision": "fraction of the predictions of a {label} that are correct, with every {label} weighted equally",
    "brier_score": "squared distance between the predicted probabilities and the true label; 0 is best, 2 is worst",
    "log_loss": "penalty for probability assigned to wrong labels; 0 is best",
    "calibration_error": "gap between confidence and accuracy; 0 is best",
    "quadratic_kappa": "agreement beyond chance, where an error counts by the square of its distance; 1 is best, 0 is "
    "chance",
    "mean_absolute_grade_error": "mean distance from the true grade; 0 is best",
    "within_one_accuracy": "fraction of examples predicted at most one grade off",
}
OTHER_DESCRIPTIONS = {  # of tasks without one label for each example
    "mae": "mean distance from the true value; 0 is best",
    "rmse": "distance from the true value, with large errors weighted more; 0 is best",
    "median_absolute_error": "half of the errors are smaller; 0 is best",
    "r2": "fraction of the variance that the predictions explain; 1 is best, 0 is always predicting the mean",
    "coverage": "fraction of the true values inside of the predicted intervals",
    "mean_average_precision": "how well each label's probability ranks the examples that have it above the others, "
    "with every label weighted equally; 1 is best",
    "macro_f1": "precision and recall combined, with every label weighted equally; 1 is best",
    "micro_f1": "precision and recall combined over all labels; 1 is best",
    "exact_match": "fraction of examples with all labels right",
    "hamming_loss": "fraction of wrong decisions over all labels; 0 is best",
    "mean_iou": "overlap of predicted and true pixels relative to their union, with every class weighted equally; 1 is "
    "best",
    "mean_dice": "overlap relative to the mean of both areas, with every class weighted equally; 1 is best",
    "mean_boundary_f1": "how well the outlines agree, with every class weighted equally; 1 is best",
    "pixel_accuracy": "fraction of pixels with the right class",
}
ENDS = ("", "_low", "_high")  # of the names of a metric and of the bounds of its interval
NOT_SCORES = {  # of metrics.json
    "task",
    "headline",
    "examples",
    "errors",
    "groups",
    "confidence_level",
    "temperature",
    "abstain_below",
    "abstain_coverage",
    "abstain_precision",
    "required",
}


class Score(NamedTuple):
    """A score as text, with its interval if it has one."""

    title: str
    value: str
    interval: str
    description: str


def score_names(metrics: Mapping[str, Any]) -> list[str]:
    """Return the names of the scores among metrics, without interval bounds, counts and settings."""
    bounds = {f"{name}_{end}" for name in metrics for end in ("low", "high")}
    return [name for name in metrics if name not in bounds | NOT_SCORES]


def format_score(name: str, metrics: Mapping[str, Any], reader: OutputReader) -> Score:
    """Format a metric with its interval."""
    value, low, high = (format_value(name, metrics.get(f"{name}{end}"), reader.unit(name)) for end in ENDS)
    interval = "" if metrics.get(f"{name}_low") is None else f"{low} to {high}"
    kind, _, label = name.partition("/")
    title = f"{score_title(kind)} of {label}" if label else score_title(kind)
    descriptions = DESCRIPTIONS if reader.has_one_label else OTHER_DESCRIPTIONS
    description = descriptions.get(name, "").format(label=reader.label_noun, participle=reader.participle)
    if name.startswith("top_"):  # top_<k>_accuracy
        description = f"the correct label is among the top {name[4:-9]}"
    return Score(title, value, interval, description)
