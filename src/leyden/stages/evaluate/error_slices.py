"""Slices of the test split on which predictions may be further from the truth."""

from collections.abc import Iterable

import numpy as np

from leyden.stages.evaluate.properties import Property
from leyden.stages.evaluate.results import Row
from leyden.stages.evaluate.slices import find_judged, keep_varied
from leyden.statistics.holm import adjust_p_values
from leyden.statistics.permutation import limit_draws, permutation_p_values, smallest_p_value
from leyden.statistics.resampled_intervals import student_interval

ERROR_SLICE_COLUMNS = (
    *("by", "slice", "count"),
    *("mean_error", "mean_error_low", "mean_error_high", "p_value", "falls_short"),
)


def list_error_slices(
    errors: np.ndarray, properties: Iterable[Property], confidence_level: float, num_draws: int, seed: int
) -> list[Row]:
    """Compare the mean error of each slice with that of all other examples, the worst first.

    A property that is the same for all examples yields no slice.

    Args:
        errors: Of the examples, (N,), not negative; examples whose error is NaN are left out.
        properties: By which they are sliced.
        confidence_level: Of the intervals together, and of the tests, in (0, 1).
        num_draws: Number of permutations behind the p-values.
        seed: Of the permutations.

    Returns:
        Rows of ERROR_SLICE_COLUMNS. The intervals are Student's with Bonferroni's correction, blank for one example;
        `p_value` is of a permutation test, one-sided, with Holm's correction. It and `falls_short` are blank for a
        slice that is too small to judge (see `find_judged`), as one example always is.
    """
    is_known = ~np.isnan(errors)
    errors, properties = errors[is_known], [(by, values[is_known]) for by, values in properties]
    slices = [
        (by, str(name), np.flatnonzero(values == name))
        for by, values in keep_varied(properties)
        for name in np.unique(values)
    ]
    total, alpha, num_draws = len(errors), 1 - confidence_level, limit_draws(num_draws, len(errors))
    smallest = {
        count: smallest_p_value(count, total, num_draws) if 1 < count < total - 1 else 1.0
        for count in {len(rows) for *_, rows in slices}
    }
    is_judged = find_judged([smallest[len(rows)] for *_, rows in slices], alpha)
    judged = [rows for (*_, rows), keep in zip(slices, is_judged, strict=True) if keep]
    p_values = iter(adjust_p_values(permutation_p_values(errors, judged, num_draws, seed)))
    listed: list[Row] = []
    for (by, name, rows), keep in zip(slices, is_judged, strict=True):
        interval = mean_interval(errors[rows], 1 - alpha / max(1, len(judged)))
        p_value = next(p_values) if keep else None
        verdict = ("", "") if p_value is None else (p_value, p_value < alpha)
        values = (by, name, len(rows), float(errors[rows].mean()), *interval, *verdict)
        listed.append(dict(zip(ERROR_SLICE_COLUMNS, values, strict=True)))
    return sorted(listed, key=lambda row: (row["p_value"] == "", row["p_value"], -row["mean_error"]))


def mean_interval(errors: np.ndarray, confidence_level: float) -> tuple[float, float] | tuple[str, str]:
    """Return Student's interval of the mean error, not below 0; blanks for one example."""
    if len(errors) < 2:
        return "", ""
    variance = float(errors.var(ddof=1)) / len(errors)
    low, high = student_interval(float(errors.mean()), variance, len(errors), confidence_level)
    return max(0.0, low), high


def describe_error(row: Row) -> str:
    return f"mean error {row['mean_error']:.4g} of {row['count']}"
