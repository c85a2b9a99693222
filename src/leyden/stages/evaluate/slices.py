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
BATCH_SIZE = 256
MAX_SHOWN = 5
NO_GROUP = "(none)"

Property = tuple[str, np.ndarray]  # name, and the slice of each example, str (N,)


def list_slices(predictions: Predictions, data: Path, confidence_level: float) -> list[Row]:
    """Compare the accuracy on each slice with that on all other examples, the worst first.

    A property that is the same for all examples yields no slice.

    Returns:
        Rows of SLICE_COLUMNS. The intervals are Wilson's with Bonferroni's correction, so that they hold jointly at
        `confidence_level`; `p_value` is of Fisher's exact test, one-sided, with Holm's correction. It and `falls_short`
        are blank for a slice that is too small to judge (see `find_judged`).
    """
    is_error = ~predictions.is_correct.numpy()
    properties = [(by, values) for by, values in list_properties(predictions, data) if (values != values[0]).any()]
    slices = [each for by, values in properties for each in count_slices(by, values, is_error)]
    total, total_errors, alpha = len(is_error), int(is_error.sum()), 1 - confidence_level
    is_judged = find_judged([count for _, _, count, _ in slices], total_errors, total, alpha)
    judged = [each for each, keep in zip(slices, is_judged, strict=True) if keep]
    p_values = adjust_p_values([fisher_p_value(errors, count, total_errors, total) for _, _, count, errors in judged])
    p_by_slice = {each[:2]: p_value for each, p_value in zip(judged, p_values, strict=True)}
    rows: list[Row] = []
    for by, name, count, errors in slices:
        interval = wilson_interval(count - errors, count, 1 - alpha / max(1, len(judged)))
        p_value = p_by_slice.get((by, name))
        verdict = ("", "") if p_value is None else (p_value, p_value < alpha)
        values = (by, name, count, errors, 1 - errors / count, *interval, *verdict)
        rows.append(dict(zip(SLICE_COLUMNS, values, strict=True)))
    return sorted(rows, key=lambda row: (row["p_value"] == "", row["p_value"], row["accuracy"]))


def find_judged(counts: list[int], total_errors: int, total: int, alpha: float) -> list[bool]:
    """Find the slices that are large enough to judge: with none of its examples correct, one would be significant.

    This depends on the counts alone, not on which examples are errors, so that leaving out the other slices does not
    bias the tests. It also keeps their power: Holm's correction for a thousand tiny groups would take it away.

    Source: Tarone, "A modified Bonferroni method for discrete data", 1990.
    """
    smallest = {
        count: fisher_p_value(count, count, max(total_errors, count), total) if count < total else 1.0
        for count in set(counts)
    }
    p_values = np.array([smallest[count] for count in counts])
    ordered, numbers = np.sort(p_values), np.arange(1, len(counts) + 1)
    is_enough = np.searchsorted(ordered, alpha / numbers, side="right") <= numbers
    num_tests = int(numbers[is_enough][0]) if len(counts) else 1
    return list(p_values <= alpha / num_tests)


def summarise_slices(slices: list[Row]) -> str:
    """Describe the weak slices in a clause, or report that there are none, or that none can be judged."""
    weak = [
        f"{row['by']} {row['slice']} ({row['accuracy']:.1%} of {row['count']})" for row in slices if row["falls_short"]
    ]
    num_judged = sum(row["falls_short"] != "" for row in slices)
    num_small = len(slices) - num_judged
    too_small = f"; {num_small:,} {'is' if num_small == 1 else 'are'} too small to judge" if num_small else ""
    if not slices:
        return "there are no slices to compare"
    if not num_judged:
        return f"all {len(slices):,} slices are too small to judge"
    if weak:
        return f"falls short on {', '.join(weak[:MAX_SHOWN])}{too_small}"
    return f"none of {num_judged:,} slices falls short of the others by more than noise{too_small}"


def list_properties(predictions: Predictions, data: Path) -> Iterator[Property]:
    rows = read_table(data / MANIFEST, "prepare", ["split", "group"])
    manifest = [row for row in rows if row["split"] == "test"]
    yield "class", np.array(predictions.class_names)[predictions.labels.numpy()]
    yield from cut_at_quantiles(*measure_examples(data))
    if "height" in manifest[0]:
        sides = [min(int(row["height"]), int(row["width"])) for row in manifest]
        yield from cut_at_quantiles("shorter_side", np.array(sides))
    groups = np.array([row["group"] for row in manifest])
    if (groups != "").any():
        yield "group", np.where(groups == "", NO_GROUP, groups)


def measure_examples(data: Path) -> tuple[str, np.ndarray]:
    """Measure the prepared examples: "brightness" of images, in [0, 1], or "length" of sequences; (N,)."""
    examples = read_examples(data, "test")[0]
    if isinstance(examples, Sequences):
        return "length", examples.lengths
    batches = (examples[start : start + BATCH_SIZE] for start in range(0, len(examples), BATCH_SIZE))
    return "brightness", np.concatenate([images.mean(axis=(1, 2, 3)) / 255 for images in batches])


def cut_at_quantiles(by: str, values: np.ndarray) -> Iterator[Property]:
    """Split a numeric property into parts of about equal count; equal values stay in one part."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, NUM_QUANTILES + 1)[1:-1]))
    parts = np.searchsorted(edges, values, side="left")
    if parts.min() == parts.max():
        return
    names = np.full(len(values), "", dtype=object)
    for part in np.unique(parts):
        inside = values[parts == part]
        low, high = f"{inside.min():.4g}", f"{inside.max():.4g}"
        names[parts == part] = low if low == high else f"{low} to {high}"
    yield by, names.astype(str)


def count_slices(by: str, values: np.ndarray, is_error: np.ndarray) -> Iterator[tuple[str, str, int, int]]:
    """Count the examples and the errors of each slice of a property."""
    names, indices = np.unique(values, return_inverse=True)
    counts, errors = np.bincount(indices), np.bincount(indices[is_error], minlength=len(names))
    for name, count, num_errors in zip(names.tolist(), counts.tolist(), errors.tolist(), strict=True):
        yield by, name, count, num_errors
