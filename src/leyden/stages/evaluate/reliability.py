"""Reliability of each label's probability: how often examples have a label, by how probable it was."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from leyden.stages.evaluate.results import Row

RELIABILITY_COLUMNS = ("label", "probability", "fraction", "count")
NUM_BINS = 10  # of probability


def reliability_table(probabilities: np.ndarray, targets: np.ndarray, labels: list[str]) -> list[Row]:
    """Compute the mean probability and the fraction of examples with the label, for each label and bin that has some.

    Args:
        probabilities: (N, K).
        targets: Whether each example has the label, 0 or 1, (N, K).
        labels: Names of the K labels.

    Returns:
        Rows of RELIABILITY_COLUMNS.
    """
    bins = np.minimum((probabilities * NUM_BINS).astype(int), NUM_BINS - 1)
    rows = []
    for index, label in enumerate(labels):
        for number in np.unique(bins[:, index]):
            is_inside = bins[:, index] == number
            fraction = float(targets[is_inside, index].mean())
            values = (label, float(probabilities[is_inside, index].mean()), fraction, int(is_inside.sum()))
            rows.append(dict(zip(RELIABILITY_COLUMNS, values, strict=True)))
    return rows


def plot_reliability(path: Path, rows: list[Row]) -> None:
    """Draw the fraction by the probability: a line for all labels together, and a grey point for each bin of one."""
    probability, fraction, count = (np.array([row[name] for row in rows]) for name in RELIABILITY_COLUMNS[1:])
    bins = np.minimum((probability * NUM_BINS).astype(int), NUM_BINS - 1)
    pooled = [
        np.average(np.stack([probability, fraction])[:, bins == number], axis=1, weights=count[bins == number])
        for number in np.unique(bins)
    ]
    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey")
    axes.scatter(probability, fraction, s=14, color="grey", alpha=0.5, linewidths=0, label="one label")
    axes.plot(*np.transpose(pooled), marker="o", label="all labels")
    axes.set(xlabel="probability of a label", ylabel="fraction with the label", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)
