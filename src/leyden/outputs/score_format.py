"""Names of scores in words, and their values with units."""

from leyden.outputs.number_format import decimal, percent, percentage_points, three_digits

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
PERCENTAGES = (  # besides each accuracy
    *("exact_match", "precision", "macro_precision", "recall", "coverage"),
    *("abstain_precision", "abstain_coverage"),
)
DISTANCES = ("mae", "rmse", "median_absolute_error")


def as_words(identifier: str) -> str:
    return identifier.replace("_", " ")


def uppercase_acronym(identifier: str) -> str:
    """Format the name of a corruption, an attack or a score as words, acronyms in upper case."""
    return identifier.upper() if identifier in ("jpeg", "fgsm", "pgd") else as_words(identifier)


def score_title(name: str) -> str:
    return TITLES.get(name) or " ".join(map(uppercase_acronym, name.split("_")))


def format_value(name: str, value: float | str | None, unit: str = "") -> str:
    """Format the value of a metric: a percentage, a distance with its unit, or a plain number."""
    kind = name.partition("/")[0]
    if is_percentage(kind):
        return percent(value)
    if kind in DISTANCES:
        return f"{three_digits(value)} {unit}".strip()
    return decimal(value)


def format_change(name: str, change: float, unit: str = "", interval: tuple[float, float] | None = None) -> str:
    """Format the difference of two values of a metric, with its sign and interval: percentages in points."""
    kind = name.partition("/")[0]
    format_number = percentage_points if is_percentage(kind) else signed
    unit = "points" if is_percentage(kind) else unit if kind in DISTANCES else ""
    bounds = f"({format_number(interval[0])} to {format_number(interval[1])})" if interval else ""
    return " ".join(filter(None, (format_number(change), unit, bounds)))


def signed(change: float) -> str:
    return f"{'+' if change > 0 else ''}{three_digits(change)}"


def is_percentage(kind: str) -> bool:
    return kind in PERCENTAGES or kind.endswith("accuracy")
