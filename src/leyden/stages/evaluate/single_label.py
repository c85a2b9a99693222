"""The evaluation of a model that predicts exactly one label for each example: accuracy, calibration, confusions."""

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from torchmetrics.functional.classification import multiclass_confusion_matrix

from leyden import artifacts
from leyden.data.groups import read_groups
from leyden.outputs.reader import OutputReader
from leyden.runtimes.load import Predictor
from leyden.stages.evaluate import tables
from leyden.stages.evaluate.abstention import measure_abstention
from leyden.stages.evaluate.metrics import metrics_with_intervals
from leyden.stages.evaluate.plots import plot_calibration
from leyden.stages.evaluate.predictions import Predictions, predict_split, prediction_columns, prediction_rows
from leyden.stages.evaluate.results import Results, Row, Table
from leyden.stages.evaluate.robustness import mean_scores, measure_robustness
from leyden.stages.evaluate.robustness_results import tabulate_robustness
from leyden.stages.evaluate.scored_split import as_metrics, describe_groups, estimate, group_metrics, summarise_headline
from leyden.stages.evaluate.settings import Settings
from leyden.stages.evaluate.slices import SLICE_COLUMNS, list_slices, summarise_slices
from leyden.stages.evaluate.suspects import SUSPECT_COLUMNS, count_expected, list_suspects
from leyden.statistics.joined_measures import find_measure
from leyden.statistics.measures import fraction_measure


def evaluate_single_label(predictor: Predictor, reader: OutputReader, data: Path, settings: Settings) -> Results:
    """Score a model on the test split."""
    level = settings.confidence_level
    test = predict_split(predictor, reader, data, "test", settings.batch_size)
    validation = predict_split(predictor, reader, data, "val", settings.batch_size)
    groups = read_groups(data, "test")
    accuracy = fraction_measure("accuracy", test.is_correct.numpy())
    measures = list({each.name: each for each in (*test.measures, accuracy)}.values())
    estimated = as_metrics(estimate(measures, settings.num_resamples, level, settings.seed, groups))
    robustness = measure_robustness(predictor, reader, data, settings, nn.CrossEntropyLoss(reduction="none"))
    metrics: dict[str, Any] = {
        "task": reader.name,
        "headline": reader.headline,
        **estimated,
        **metrics_with_intervals(test, settings.top_k, settings.num_resamples, level, settings.seed),
        **estimated,  # intervals of whole groups replace those of independent examples
        **group_metrics(groups),
        "temperature": getattr(predictor, "temperature", 1.0),
        **measure_abstention(validation, test, settings.abstain_precision, level),
        **mean_scores(robustness, reader.headline),
    }
    suspects = list_suspects(test, "test", level) + list_suspects(validation, "val", level)
    slices = list_slices(test, data, level, reader.label_noun)
    results = describe_results(test, metrics, slices, suspects)
    tables, pictures = tabulate_robustness(robustness, find_measure(reader.headline, measures), metrics)
    losses = [measure.name for measure in test.measures if not measure.higher_is_better]
    summary = results.summary + describe_groups(metrics, [measure.name for measure in measures])
    return results._replace(
        lower_is_better=[*results.lower_is_better, *losses],
        tables={**results.tables, **tables},
        pictures={**results.pictures, **pictures},
        summary=summary,
    )


def describe_results(test: Predictions, metrics: dict[str, Any], slices: list[Row], suspects: list[Row]) -> Results:
    """Collect the tables and plots of the predictions of the test split."""
    names = test.class_names
    # (K, K): rows are the actual classes, columns the predicted ones
    confusion = multiclass_confusion_matrix(test.predicted, test.labels, len(names)).numpy()
    per_class = tables.per_class_table(confusion, names, metrics["confidence_level"])
    calibration = tables.calibration_table(test.confidence, test.is_correct)
    return Results(
        metrics,
        artifacts.LESS_IS_BETTER,
        {
            artifacts.PREDICTIONS: Table(prediction_rows(test), prediction_columns(test)),
            artifacts.PER_CLASS: Table(per_class, tables.PER_CLASS_COLUMNS),
            artifacts.CALIBRATION: Table(calibration, tables.CALIBRATION_COLUMNS),
            "errors/mistakes.csv": Table(tables.list_mistakes(test), tables.MISTAKE_COLUMNS),
            "errors/confusions.csv": Table(tables.list_confusions(confusion, names), tables.CONFUSION_COLUMNS),
            artifacts.SUSPECTS: Table(suspects, SUSPECT_COLUMNS),
            artifacts.SLICES: Table(slices, SLICE_COLUMNS),
        },
        {"plots/calibration.png": partial(plot_calibration, bins=calibration)},
        summarise(metrics, slices, suspects),
    )


def summarise(metrics: dict[str, Any], slices: list[Row], suspects: list[Row]) -> list[str]:
    errors, num_wrong = metrics["errors"], count_expected(suspects)
    headline = []
    if (name := metrics["headline"]) != "accuracy":
        headline.append(summarise_headline(name, metrics))
    lines = [
        *headline,
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
    return lines


def summarise_abstention(metrics: dict[str, Any]) -> str:
    """Describe the answers that remain if the model abstains where it is too unsure."""
    if "abstain_precision" not in metrics:
        return "no confidence is high enough for abstain_precision"
    return (
        f"{metrics['abstain_coverage']:.1%} have a confidence of {metrics['abstain_below']:.6g} or more, "
        f"of which {metrics['abstain_precision']:.1%} are correct"
    )
