"""Parts of the test split on which the model may be worse: by class, brightness, size, length, group."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from leyden.data.packed import read_examples
from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.tables import Row
from leyden.statistics.wilson import wilson_interval

COLUMNS = ("by", "slice", "count", "errors", "accuracy", "accuracy_low", "accuracy_high", "p_value", "falls_short")
NUM_PARTS = 4  # of a property that is a number, with as many examples each
MIN_COUNT = 10  # of fewer examples nothing can be said
BATCH_SIZE = 256

Slice = tuple[str, str, np.ndarray]  # property, value, bool (N,)


def list_slices(found: Predictions, data: Path, confidence_level: float) -> list[Row]:
    """Compare the accuracy on each slice with that on all other examples; the worst first.

    Returns:
        Rows of COLUMNS. The intervals, Wilson's at Bonferroni's level, hold all together as often as `confidence_level` says; `p_value`
        is of Fisher's exact test, one-sided, adjusted for the number of slices.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    slices = [each for each in slices_of(found, data) if each[2].sum() >= MIN_COUNT]
    wrong = ~found.is_right.numpy()
    p_values = holm(
        [fisher(int((wrong & rows).sum()), int(rows.sum()), int(wrong.sum()), len(wrong)) for _, _, rows in slices]
    )
    level = 1 - (1 - confidence_level) / max(1, len(slices))
    found_rows = []
    for (by, name, rows), p_value in zip(slices, p_values, strict=True):
        count, errors = int(rows.sum()), int((wrong & rows).sum())
        low, high = wilson_interval(count - errors, count, level)
        figures = {"accuracy": 1 - errors / count, "accuracy_low": low, "accuracy_high": high, "p_value": p_value}
        row: Row = {"by": by, "slice": name, "count": count, "errors": errors} | figures
        found_rows.append(row | {"falls_short": p_value < 1 - confidence_level})
    return sorted(found_rows, key=lambda row: (row["p_value"], row["accuracy"]))


def slices_of(found: Predictions, data: Path) -> Iterator[Slice]:
    names = np.array(found.names)[found.labels.numpy()]
    yield from by_value("class", names)
    for name, values in {**measure(data), **sizes(data)}.items():
        yield from by_number(name, values)
    groups = np.array([row["group"] for row in manifest(data)])
    if (groups != "").any():
        yield from by_value("group", groups)


def manifest(data: Path) -> list[dict[str, str]]:
    with open(data / "manifest.csv", newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "test"]


def measure(data: Path) -> dict[str, np.ndarray]:
    """Measure what the model saw: brightness of images, in [0, 1]; length of sequences."""
    examples = read_examples(data, "test")[0]
    batches = (examples[start : start + BATCH_SIZE] for start in range(0, len(examples), BATCH_SIZE))
    parts = [
        ("length", batch[1]) if isinstance(batch, tuple) else ("brightness", batch.mean(axis=(1, 2, 3)) / 255)
        for batch in batches
    ]
    return {parts[0][0]: np.concatenate([values for _, values in parts])}


def sizes(data: Path) -> dict[str, np.ndarray]:
    """Give the shorter side of each original image in pixels, where the manifest tells it."""
    rows = manifest(data)
    return (
        {"shorter_side": np.array([min(int(row["height"]), int(row["width"])) for row in rows])}
        if "height" in rows[0]
        else {}
    )


def by_value(by: str, values: np.ndarray) -> Iterator[Slice]:
    for value in np.unique(values):
        yield by, str(value), values == value


def by_number(by: str, values: np.ndarray) -> Iterator[Slice]:
    """Cut a property into parts of equal count; equal values stay together."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, NUM_PARTS + 1)[1:-1]))
    part = np.searchsorted(edges, values, side="left")
    for number in np.unique(part) if len(np.unique(part)) > 1 else ():
        inside = values[part == number]
        yield by, f"{inside.min():.4g} to {inside.max():.4g}", part == number


def fisher(errors: int, count: int, all_errors: int, total: int) -> float:
    """Give the probability of so many errors or more in `count` of `total` examples if `all_errors` had fallen at random."""
    number = torch.arange(errors, min(count, all_errors) + 1, dtype=torch.float64)
    ways = (
        choose(all_errors, number)
        + choose(total - all_errors, count - number)
        - choose(total, torch.tensor(float(count)))
    )
    return min(1.0, float(ways.exp().sum()))


def choose(total: int, number: torch.Tensor) -> torch.Tensor:
    """Give the logarithm of the binomial coefficient; minus infinity where nothing can be chosen so."""
    size, number = torch.tensor(float(total), dtype=torch.float64), number.double()
    ways = torch.lgamma(size + 1) - torch.lgamma(number + 1) - torch.lgamma(size - number + 1)
    return ways.where((number >= 0) & (number <= size), -torch.inf)


def holm(p_values: list[float]) -> list[float]:
    """Adjust the p-values of many tests, so that one of them misleads no oftener than a single test would."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
