"""The evaluation of a model of any task, by the measures, errors and rows of the reader of its outputs."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leyden import artifacts
from leyden.data.groups import read_groups
from leyden.outputs.reader import OutputReader
from leyden.runtimes.load import Predictor
from leyden.stages.evaluate.error_slices import ERROR_SLICE_COLUMNS, describe_error, list_error_slices
from leyden.stages.evaluate.example_tables import list_measures, list_per_label, tabulate_examples
from leyden.stages.evaluate.mask_pictures import draw_masks
from leyden.stages.evaluate.number_plots import plot_predicted, plot_residuals
from leyden.stages.evaluate.properties import list_properties, list_target_properties
from leyden.stages.evaluate.reliability import RELIABILITY_COLUMNS, plot_reliability, reliability_table
from leyden.stages.evaluate.results import Results, Table
from leyden.stages.evaluate.robustness import mean_scores, measure_robustness
from leyden.stages.evaluate.robustness_results import tabulate_robustness
from leyden.stages.evaluate.scored_split import (
    Estimated,
    ScoredSplit,
    as_metrics,
    describe_groups,
    estimate,
    group_metrics,
    score_split,
    summarise_headline,
)
from leyden.stages.evaluate.settings import Settings
from leyden.stages.evaluate.slices import summarise_slices
from leyden.statistics.joined_measures import find_measure
from leyden.tasks.targets import LossOptions
from leyden.tasks.task import Task


def evaluate_generic(predictor: Predictor, reader: OutputReader, task: Task, data: Path, settings: Settings) -> Results:
    """Score a model on the test split."""
    test = score_split(predictor, reader, data, "test", settings.batch_size, settings.top_k)
    groups = read_groups(data, "test")
    estimates = estimate(test.measures, settings.num_resamples, settings.confidence_level, settings.seed, groups)
    headline = find_measure(reader.headline, test.measures)
    robustness = measure_robustness(predictor, reader, data, settings, task.make_loss(LossOptions()))
    metrics: dict[str, Any] = {
        "task": reader.name,
        "headline": headline.name,
        **as_metrics(estimates),
        "examples": len(test.paths),
        **group_metrics(groups),
        "confidence_level": settings.confidence_level,
        **(means := mean_scores(robustness, headline.name)),
    }
    lower_is_better = [each.measure.name for each in estimates if not each.measure.higher_is_better]
    lower_is_better += [] if headline.higher_is_better else list(means)
    properties = [*list_target_properties(reader, test.targets), *list_properties(data)]
    slices = list_error_slices(
        test.errors, properties, settings.confidence_level, settings.num_resamples, settings.seed
    )
    label_tables, pictures = describe_predictions(reader, test, estimates, data)
    robustness_tables, robustness_pictures = tabulate_robustness(robustness, headline, metrics)
    tables = {
        **tabulate_examples(reader, test, settings.top_k),
        **label_tables,
        artifacts.MEASURES: list_measures(estimates),
        artifacts.SLICES: Table(slices, ERROR_SLICE_COLUMNS),
        **robustness_tables,
    }
    summary = [summarise_headline(headline.name, metrics), summarise_slices(slices, describe_error)]
    summary += describe_groups(metrics)
    return Results(metrics, lower_is_better, tables, pictures | robustness_pictures, summary)


def describe_predictions(
    reader: OutputReader, test: ScoredSplit, estimates: Sequence[Estimated], data: Path
) -> tuple[dict[str, Table], dict[str, Callable[[Path], None]]]:
    """Return the tables and the pictures that suit the kind of the predictions."""
    tables, pictures = {}, dict[str, Callable[[Path], None]]()
    if (per_label := list_per_label(estimates, reader.labels)).rows:
        tables[artifacts.PER_LABEL] = per_label
    if reader.predicts_numbers:
        for name, plot in (("predicted", plot_predicted), ("residuals", plot_residuals)):
            pictures[f"plots/{name}.png"] = partial(
                plot, labels=reader.labels, predicted=test.predictions, true=test.targets
            )
    if reader.has_label_set:
        rows = reliability_table(reader.probabilities(test.predictions), test.targets, reader.labels)
        tables[artifacts.RELIABILITY] = Table(rows, RELIABILITY_COLUMNS)
        pictures["plots/reliability.png"] = partial(plot_reliability, rows=rows)
    if reader.is_dense:
        pictures |= draw_masks(reader, test, data)
    return tables, pictures
