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
    errors, num_wrong = metrics["errors"], count_expected(suspects)
    lines = [
        f"accuracy {metrics['accuracy']:.4f} [{metrics['accuracy_low']:.4f}, {metrics['accuracy_high']:.4f}] "
        f"on {metrics['examples']:,} test examples ({errors:,} error{'' if errors == 1 else 's'}), "
        f"calibration error {metrics['calibration_error']:.4f}; {summarise_abstention(metrics)}",
        summarise_slices(slices),
    ]
    if num_wrong:
        labels = "label" if num_wrong == 1 else "labels"
        lines[-1] += (
            f"; about {num_wrong} {labels} of the test and validation splits may be wrong ({artifacts.SUSPECTS})"
        )
    return "\n".join(f"evaluate: {line}" for line in lines)


def summarise_abstention(metrics: dict[str, Any]) -> str:
    """Describe the answers that remain if the model abstains where it is too unsure."""
    if "abstain_precision" not in metrics:
        return "no confidence is high enough for abstain_precision"
    return (
        f"{metrics['abstain_coverage']:.1%} have a confidence of {metrics['abstain_below']:.6g} or more, "
        f"of which {metrics['abstain_precision']:.1%} are correct"
    )
