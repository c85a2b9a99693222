"""Slices of the test split on which a model that predicts one label for each example may be worse."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.properties import Property, list_properties
from leyden.stages.evaluate.results import Row
from leyden.statistics.fisher import fisher_p_value
from leyden.statistics.holm import adjust_p_values
from leyden.statistics.wilson import wilson_interval

SLICE_COLUMNS = (
    *("by", "slice", "count", "errors"),
    *("accuracy", "accuracy_low", "accuracy_high", "p_value", "falls_short"),
)
MAX_SHOWN = 5


def list_slices(predictions: Predictions, data: Path, confidence_level: float, label_noun: str = "class") -> list[Row]:
    """Compare the accuracy on each slice with that on all other examples, the worst first.

    A property that is the same for all examples yields no slice.

    Returns:
        Rows of SLICE_COLUMNS. The intervals are Wilson's with Bonferroni's correction, so that they hold jointly at
        `confidence_level`; `p_value` is of Fisher's exact test, one-sided, with Holm's correction. It and `falls_short`
        are blank for a slice that is too small to judge (see `find_judged`).
    """
    is_error = ~predictions.is_correct.numpy()
    classes = np.array(predictions.class_names)[predictions.labels.numpy()]
    properties = keep_varied([(label_noun, classes), *list_properties(data)])
    slices = [each for by, values in properties for each in count_slices(by, values, is_error)]
    total, total_errors, alpha = len(is_error), int(is_error.sum()), 1 - confidence_level
    smallest = {
        count: fisher_p_value(count, count, max(total_errors, count), total) if count < total else 1.0
        for count in {count for _, _, count, _ in slices}
    }
    is_judged = find_judged([smallest[count] for _, _, count, _ in slices], alpha)
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


def find_judged(smallest_p_values: Sequence[float], alpha: float) -> list[bool]:
    """Find the slices that are large enough to judge: with none of its examples correct, one would be significant.

    This depends on the counts alone, not on which examples are errors, so that leaving out the other slices does not
    bias the tests. It also keeps their power: Holm's correction for a thousand tiny groups would take it away.

    Args:
        smallest_p_values: What each slice's p-value would be if its examples were the worst.
        alpha: The significance level.

    Source: Tarone, "A modified Bonferroni method for discrete data", 1990.
    """
    p_values = np.array(smallest_p_values)
    ordered, numbers = np.sort(p_values), np.arange(1, len(p_values) + 1)
    is_enough = np.searchsorted(ordered, alpha / numbers, side="right") <= numbers
    num_tests = int(numbers[is_enough][0]) if len(p_values) else 1
    return list(p_values <= alpha / num_tests)


def describe_accuracy(row: Row) -> str:
    return f"{row['accuracy']:.1%} of {row['count']}"


def summarise_slices(slices: list[Row], describe: Callable[[Row], str] = describe_accuracy) -> str:
    """Describe the weak slices in a clause, or report that there are none, or that none can be judged."""
    weak = [f"{row['by']} {row['slice']} ({describe(row)})" for row in slices if row["falls_short"]]
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


def keep_varied(properties: Iterable[Property]) -> list[Property]:
    """Return the properties that are not the same for all examples."""
    return [(by, values) for by, values in properties if (values != values[:1]).any()]


def count_slices(by: str, values: np.ndarray, is_error: np.ndarray) -> Iterator[tuple[str, str, int, int]]:
    """Count the examples and the errors of each slice of a property."""
    names, indices = np.unique(values, return_inverse=True)
    counts, errors = np.bincount(indices), np.bincount(indices[is_error], minlength=len(names))
    for name, count, num_errors in zip(names.tolist(), counts.tolist(), errors.tolist(), strict=True):
        yield by, name, count, num_errors
