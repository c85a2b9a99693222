"""What an evaluation finds, written to a folder and summarised in a few lines."""

from pathlib import Path
from typing import Any, NamedTuple

from leyden import artifacts
from leyden.files import write_json
from leyden.files.tables import write_table
from leyden.stages.evaluate.mistakes import (
    CONFUSION_COLUMNS,
    MISTAKE_COLUMNS,
    SUSPECT_COLUMNS,
    list_confusions,
    list_mistakes,
)
from leyden.stages.evaluate.plots import plot_calibration, plot_confusion, plot_robustness
from leyden.stages.evaluate.predictions import Predictions, write_predictions
from leyden.stages.evaluate.robustness import ROBUSTNESS_COLUMNS
from leyden.stages.evaluate.slices import SLICE_COLUMNS
from leyden.stages.evaluate.tables import (
    CALIBRATION_COLUMNS,
    PER_CLASS_COLUMNS,
    Row,
    calibration_table,
    confusion_matrix,
    per_class_table,
)

MAX_SLICES_SHOWN = 5


class Results(NamedTuple):
    """Predictions and metrics of the test split, and rows of the tables that are not computed from these alone."""

    predictions: Predictions
    metrics: dict[str, Any]
    slices: list[Row]
    suspects: list[Row]
    robustness: list[Row]


def write_results(folder: Path, results: Results) -> None:
    """Write predictions, metrics, tables and plots to an empty folder."""
    predictions, metrics = results.predictions, results.metrics
    names, confusion = predictions.class_names, confusion_matrix(predictions)
    per_class = per_class_table(confusion, names, metrics["confidence_level"])
    calibration = calibration_table(predictions.confidence, predictions.is_correct)
    for path in (artifacts.MISTAKES, artifacts.ROBUSTNESS):
        (folder / path).parent.mkdir()
    write_predictions(folder / artifacts.PREDICTIONS, predictions)
    write_json(folder / artifacts.METRICS, metrics)
    write_table(folder / artifacts.PER_CLASS, per_class, PER_CLASS_COLUMNS)
    write_table(folder / artifacts.CALIBRATION, calibration, CALIBRATION_COLUMNS)
    write_table(folder / artifacts.MISTAKES, list_mistakes(predictions), MISTAKE_COLUMNS)
    write_table(folder / artifacts.CONFUSIONS, list_confusions(confusion, names), CONFUSION_COLUMNS)
    write_table(folder / artifacts.SUSPECTS, results.suspects, SUSPECT_COLUMNS)
    write_table(folder / artifacts.SLICES, results.slices, SLICE_COLUMNS)
    write_table(folder / artifacts.ROBUSTNESS, results.robustness, ROBUSTNESS_COLUMNS)
    plot_confusion(folder / "confusion.png", confusion, names)
    plot_calibration(folder / "calibration.png", calibration)
    if results.robustness:
        plot_robustness((folder / artifacts.ROBUSTNESS).with_suffix(".png"), results.robustness, metrics["accuracy"])


def summarise(results: Results) -> str:
    metrics = results.metrics
    weak = [
        f"{row['by']} {row['slice']} ({row['accuracy']:.1%} of {row['count']})"
        for row in results.slices
        if row["falls_short"]
    ]
    slices = (
        f"falls short on {', '.join(weak[:MAX_SLICES_SHOWN])}"
        if weak
        else f"none of {len(results.slices)} slices falls short of the others by more than noise"
    )
    return (
        f"evaluate: accuracy {metrics['accuracy']:.4f} [{metrics['accuracy_low']:.4f}, {metrics['accuracy_high']:.4f}] "
        f"on {metrics['examples']:,} test examples ({metrics['errors']} errors), "
        f"calibration error {metrics['calibration_error']:.4f}; "
        f"answers {metrics['abstain_coverage']:.1%} of them within abstain_precision\n"
        f"evaluate: {slices}; "
        f"{len(results.suspects)} labels of the test and validation splits may be wrong ({artifacts.SUSPECTS})"
    )
