"""Plots of predicted numbers: against the true ones, and their differences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MAX_POINTS = 2000  # evenly spaced among the examples: more hide one another
MAX_TARGETS = 12


def plot_predicted(path: Path, labels: Sequence[str], predicted: np.ndarray, true: np.ndarray) -> None:
    """Draw predicted against true values (N, K), with the line on which they are equal."""
    figure, panels = make_panels(labels)
    rows = spread(len(true))
    for index, axes in enumerate(panels):
        x, y = true[rows, index], predicted[rows, index]
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, linestyle="--", color="grey")
        axes.plot(x, y, ".", alpha=0.5)
        axes.set(xlabel="true", ylabel="predicted")
    figure.savefig(path, dpi=110)


def plot_residuals(path: Path, labels: Sequence[str], predicted: np.ndarray, true: np.ndarray) -> None:
    """Draw predicted minus true values (N, K) against the true ones: a slope shows a bias towards the mean."""
    figure, panels = make_panels(labels)
    rows = spread(len(true))
    for index, axes in enumerate(panels):
        x = true[rows, index]
        axes.axhline(0, linestyle="--", color="grey")
        axes.plot(x, predicted[rows, index] - x, ".", alpha=0.5)
        axes.set(xlabel="true", ylabel="predicted - true")
    figure.savefig(path, dpi=110)


def make_panels(labels: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes for each of the first MAX_TARGETS labels.

    Names in other scripts are not drawn: the fonts at hand may have no glyphs for them.
    """
    count = min(len(labels), MAX_TARGETS)
    columns = min(count, 3)
    num_rows = -(-count // columns)
    figure = Figure(figsize=(4 * columns, 4 * num_rows), layout="constrained")
    panels = list(figure.subplots(num_rows, columns, squeeze=False).flat)
    for number, axes in enumerate(panels[:count]):
        axes.set_title(labels[number].replace("$", r"\$") if labels[number].isascii() else f"target {number + 1}")
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def spread(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, MAX_POINTS)).astype(int)
