"""Slices of the test split on which the model may be worse: by class, brightness, size, length, group."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from leyden.data.packed import MANIFEST, read_examples
from leyden.data.sequences import Sequences
from leyden.files.tables import read_table
from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.tables import Row
from leyden.statistics.fisher import fisher_p_value
from leyden.statistics.holm import adjust_p_values
from leyden.statistics.wilson import wilson_interval

SLICE_COLUMNS = (
    *("by", "slice", "count", "errors"),
    *("accuracy", "accuracy_low", "accuracy_high", "p_value", "falls_short"),
)
NUM_QUANTILES = 4  # slices of a numeric property, with about as many examples each
MIN_COUNT = 10  # smaller slices are ignored: a test of them shows nothing
BATCH_SIZE = 256

Slice = tuple[str, str, np.ndarray]  # property, value, bool (N,)


def list_slices(predictions: Predictions, data: Path, confidence_level: float) -> list[Row]:
    """Compare the accuracy on each slice with that on all other examples, the worst first.

    Returns:
        Rows of SLICE_COLUMNS. The intervals are Wilson's with Bonferroni's correction, so that they hold jointly at
        `confidence_level`; `p_value` is of Fisher's exact test, one-sided, with Holm's correction.
    """
    slices = [each for each in iterate_slices(predictions, data) if each[2].sum() >= MIN_COUNT]
    is_error = ~predictions.is_correct.numpy()
    counts = [(int(is_in_slice.sum()), int((is_error & is_in_slice).sum())) for _, _, is_in_slice in slices]
    p_values = adjust_p_values(
        [fisher_p_value(errors, count, int(is_error.sum()), len(is_error)) for count, errors in counts]
    )
    corrected_level = 1 - (1 - confidence_level) / max(1, len(slices))
    rows: list[Row] = []
    for (by, name, _), (count, errors), p_value in zip(slices, counts, p_values, strict=True):
        interval = wilson_interval(count - errors, count, corrected_level)
        values = (by, name, count, errors, 1 - errors / count, *interval, p_value, p_value < 1 - confidence_level)
        rows.append(dict(zip(SLICE_COLUMNS, values, strict=True)))
    return sorted(rows, key=lambda row: (row["p_value"], row["accuracy"]))


def iterate_slices(predictions: Predictions, data: Path) -> Iterator[Slice]:
    manifest = [row for row in read_table(data / MANIFEST, "prepare") if row["split"] == "test"]
    yield from slices_by_value("class", np.array(predictions.class_names)[predictions.labels.numpy()])
    yield from slices_by_quantile(*measure_examples(data))
    if "height" in manifest[0]:
        sides = [min(int(row["height"]), int(row["width"])) for row in manifest]
        yield from slices_by_quantile("shorter_side", np.array(sides))
    groups = np.array([row["group"] for row in manifest])
    if (groups != "").any():
        yield from slices_by_value("group", groups)


def measure_examples(data: Path) -> tuple[str, np.ndarray]:
    """Measure the prepared examples: "brightness" of images, in [0, 1], or "length" of sequences; (N,)."""
    examples = read_examples(data, "test")[0]
    if isinstance(examples, Sequences):
        return "length", examples.lengths
    batches = (examples[start : start + BATCH_SIZE] for start in range(0, len(examples), BATCH_SIZE))
    return "brightness", np.concatenate([images.mean(axis=(1, 2, 3)) / 255 for images in batches])


def slices_by_value(by: str, values: np.ndarray) -> Iterator[Slice]:
    for value in np.unique(values):
        yield by, str(value), values == value


def slices_by_quantile(by: str, values: np.ndarray) -> Iterator[Slice]:
    """Split a numeric property into parts of about equal count; equal values stay in one part."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, NUM_QUANTILES + 1)[1:-1]))
    parts = np.searchsorted(edges, values, side="left")
    if parts.min() == parts.max():
        return
    for part in np.unique(parts):
        inside = values[parts == part]
        yield by, f"{inside.min():.4g} to {inside.max():.4g}", parts == part
