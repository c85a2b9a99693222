"""Write the results of an evaluation to a folder, and summarise them in a few lines."""

from pathlib import Path
from typing import Any

from torchmetrics.functional.classification import multiclass_confusion_matrix

from leyden import artifacts
from leyden.files import write_json
from leyden.files.tables import write_table
from leyden.stages.evaluate import tables
from leyden.stages.evaluate.plots import plot_calibration, plot_robustness
from leyden.stages.evaluate.predictions import Predictions, write_predictions
from leyden.stages.evaluate.robustness import ROBUSTNESS_COLUMNS
from leyden.stages.evaluate.slices import SLICE_COLUMNS, summarise_slices
from leyden.stages.evaluate.suspects import SUSPECT_COLUMNS, count_expected
from leyden.stages.evaluate.tables import Row


def write_results(
    folder: Path,
    predictions: Predictions,
    metrics: dict[str, Any],
    slices: list[Row],
    suspects: list[Row],
    robustness: list[Row],
) -> None:
    """Write predictions and metrics of the test split, tables and plots to an empty folder."""
    names = predictions.class_names
    # (K, K): rows are the actual classes, columns the predicted ones
    confusion = multiclass_confusion_matrix(predictions.predicted, predictions.labels, len(names)).numpy()
    per_class = tables.per_class_table(confusion, names, metrics["confidence_level"])
    calibration = tables.calibration_table(predictions.confidence, predictions.is_correct)
    write_predictions(folder / artifacts.PREDICTIONS, predictions)
    write_json(folder / artifacts.METRICS, metrics)
    for name, rows, columns in (
        (artifacts.PER_CLASS, per_class, tables.PER_CLASS_COLUMNS),
        (artifacts.CALIBRATION, calibration, tables.CALIBRATION_COLUMNS),
        ("errors/mistakes.csv", tables.list_mistakes(predictions), tables.MISTAKE_COLUMNS),
        ("errors/confusions.csv", tables.list_confusions(confusion, names), tables.CONFUSION_COLUMNS),
        (artifacts.SUSPECTS, suspects, SUSPECT_COLUMNS),
        (artifacts.SLICES, slices, SLICE_COLUMNS),
        (artifacts.ROBUSTNESS, robustness, ROBUSTNESS_COLUMNS),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        write_table(folder / name, rows, columns)
    plot_calibration(folder / "calibration.png", calibration)
    if robustness:
        plot_robustness((folder / artifacts.ROBUSTNESS).with_suffix(".png"), robustness, metrics["accuracy"])


def summarise(metrics: dict[str, Any], slices: list[Row], suspects: list[Row]) -> str:
    return (
        f"evaluate: accuracy {metrics['accuracy']:.4f} [{metrics['accuracy_low']:.4f}, {metrics['accuracy_high']:.4f}] "
        f"on {metrics['examples']:,} test examples ({metrics['errors']} errors), "
        f"calibration error {metrics['calibration_error']:.4f}; "
        f"answers {metrics['abstain_coverage']:.1%} of them within abstain_precision\n"
        f"evaluate: {summarise_slices(slices)}; "
        f"about {count_expected(suspects)} labels of the test and validation splits may be wrong ({artifacts.SUSPECTS})"
    )
