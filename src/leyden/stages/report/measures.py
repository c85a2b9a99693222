"""Names, descriptions and formats of the metrics in metrics.json."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from leyden.outputs.reader import OutputReader
from leyden.stages.report.formatting import decimal, percent, three_digits, uppercase_acronym

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
TITLES = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "f1": "F1",
    "auroc": "AUROC",
    "brier_score": "Brier score",
    "mae": "mean absolute error",
    "rmse": "root-mean-square error",
    "r2": "R\N{SUPERSCRIPT TWO}",
    "hamming_loss": "Hamming loss",
    "iou": "IoU",
    "dice": "Dice",
    "within_one_accuracy": "accuracy within one grade",
    "mean_iou": "mean IoU",
    "miou": "mean IoU",
    "mean_dice": "mean Dice",
    "boundary_f1": "boundary F1",
    "mean_boundary_f1": "mean boundary F1",
}
PERCENTAGES = ("exact_match", "precision", "recall", "coverage", "pixel_accuracy")  # of any task
DISTANCES = ("mae", "rmse", "median_absolute_error")
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


def format_number(name: str, value: float | str | None) -> str:
    """Format the value of a metric of a task with one label for each example."""
    return (percent if name.endswith(("accuracy", "precision", "coverage")) else decimal)(value)


def format_score(name: str, metrics: Mapping[str, Any], reader: OutputReader) -> Score:
    """Format a metric of a task with one label for each example, with its interval."""
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    interval = f"{format_number(name, low)} to {format_number(name, high)}" if None not in (low, high) else ""
    description = DESCRIPTIONS.get(name, "").format(label=reader.label_noun, participle=reader.participle)
    if name.startswith("top_"):  # top_<k>_accuracy
        description = f"the correct label is among the top {name[4:-9]}"
    return Score(score_title(name), format_number(name, metrics.get(name)), interval, description)


def score_title(name: str) -> str:
    return TITLES.get(name) or " ".join(map(uppercase_acronym, name.split("_")))


def format_value(name: str, value: float | str | None, unit: str = "") -> str:
    """Format the value of a metric of another task: a percentage, a distance with its unit, or a plain number."""
    kind = name.partition("/")[0]
    if kind in PERCENTAGES:
        return percent(value)
    if kind in DISTANCES:
        return f"{three_digits(value)} {unit}".strip()
    return decimal(value)
