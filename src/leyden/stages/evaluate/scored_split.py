"""A model's predictions of one split, scored by the reader of its outputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leyden.data.packed import read_examples, read_paths
from leyden.outputs.reader import OutputReader, Row
from leyden.runtimes.load import Predictor
from leyden.runtimes.output_parts import predict_parts
from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.joined_measures import join_measures
from leyden.statistics.measures import AnyMeasure
from leyden.statistics.resampling import Resampler


class ScoredSplit(NamedTuple):
    """Predictions of N examples.

    Attributes:
        paths: The examples' files.
        targets: As they are packed, (N, ...).
        rows: The predictions as cells of a table.
        errors: How wrong they are, float64 (N,).
        measures: What the split is scored by.
        predictions: The outputs (N, K); of masks, the decisions (N, H, W).
    """

    paths: list[str]
    targets: np.ndarray
    rows: list[Row]
    errors: np.ndarray
    measures: list[AnyMeasure]
    predictions: np.ndarray


class Estimated(NamedTuple):
    """A measure's value and, where it can be computed, its interval."""

    measure: AnyMeasure
    value: float
    interval: tuple[float, float] | None


def score_split(
    predictor: Predictor, reader: OutputReader, data: Path, split: str, batch_size: int, limit: int
) -> ScoredSplit:
    """Predict a split; outputs for each pixel are scored batch by batch, since those of all images fill the memory.

    Args:
        predictor: The model.
        reader: Of its outputs.
        data: Output folder of `leyden prepare`.
        split: Name of the split.
        batch_size: Number of examples per batch.
        limit: How many labels are listed for each example where they are ranked.
    """
    examples, targets = read_examples(data, split)
    parts = []
    for rows, outputs in predict_parts(predictor, reader, examples, batch_size, "evaluate"):
        predictions = reader.decide(outputs) if reader.is_dense else outputs
        errors, measures = reader.errors(outputs, targets[rows]), reader.measures(outputs, targets[rows])
        parts.append((reader.rows(outputs, limit), errors, measures, predictions))
    cells, errors_of_parts, measures_of_parts, predictions_of_parts = zip(*parts, strict=True)
    return ScoredSplit(
        read_paths(data, split),
        targets,
        [row for rows in cells for row in rows],
        np.concatenate(errors_of_parts),
        join_measures(measures_of_parts),
        np.concatenate(predictions_of_parts),
    )


def estimate(
    measures: Sequence[AnyMeasure],
    num_resamples: int,
    confidence_level: float,
    seed: int,
    groups: np.ndarray | None = None,
) -> list[Estimated]:
    """Compute the measures that are defined, with the intervals of those that have one.

    `groups` are those of the examples, int (N,), which are resampled as a whole; None if examples are independent.
    """
    if not measures:
        return []
    values = Resampler(measures, None, has_errors=False).estimate().values[0].tolist()
    intervals = bootstrap_intervals(measures, confidence_level, num_resamples, seed, groups)
    return [
        Estimated(measure, value, intervals[measure.name][1:] if measure.name in intervals else None)
        for measure, value in zip(measures, values, strict=True)
        if np.isfinite(value)
    ]


def as_metrics(estimates: Sequence[Estimated]) -> dict[str, float]:
    """Return the entries of metrics.json."""
    metrics = {}
    for measure, value, interval in estimates:
        metrics[measure.name] = value
        if interval:
            metrics |= {f"{measure.name}_low": interval[0], f"{measure.name}_high": interval[1]}
    return metrics


def group_metrics(groups: np.ndarray | None) -> dict[str, int]:
    """Return the entry of metrics.json with the number of groups, where examples are in groups."""
    return {} if groups is None else {"groups": len(np.unique(groups))}


def describe_groups(metrics: dict[str, Any], names: Sequence[str] = ()) -> list[str]:
    """Say in a line which intervals are of whole groups, those of all metrics or of some; none without groups."""
    if "groups" not in metrics:
        return []
    which = f"of {', '.join(names)} " if names else ""
    others = "other intervals and the tests of slices take" if names else "the tests of slices take"
    return [
        f"intervals {which}resample the {metrics['groups']:,} groups of the test examples as a whole; {others} "
        "examples as independent"
    ]


def summarise_headline(name: str, metrics: dict[str, Any]) -> str:
    examples = f"{metrics['examples']:,} test examples"
    if name not in metrics:
        return f"{name} is undefined on {examples}"
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    interval = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
    return f"{name} {metrics[name]:.4g}{interval} on {examples}"
