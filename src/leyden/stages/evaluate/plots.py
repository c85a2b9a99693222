"""Plots of an evaluation, as PNG."""

import math
from pathlib import Path

from matplotlib.figure import Figure

from leyden.outputs.score_format import score_title
from leyden.stages.evaluate.results import Row


def plot_calibration(path: Path, bins: list[Row]) -> None:
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="perfectly calibrated")
    axes.plot([row["confidence"] for row in bins], [row["accuracy"] for row in bins], marker="o", label="model")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend()
    figure.savefig(path, dpi=110)


def plot_robustness(path: Path, rows: list[Row], name: str, clean: float, bounds: tuple[float, float]) -> None:
    """Draw the measure of a name under each kind at each strength, from its value on clean images."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure = Figure(figsize=(2.4 * len(kinds), 2.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True):
        rows_of_kind = [row for row in rows if row["kind"] == kind]
        values, low, high = (
            [math.nan if row[column] == "" else row[column] for row in rows_of_kind]
            for column in (name, f"{name}_low", f"{name}_high")
        )
        steps = range(1, len(rows_of_kind) + 1)
        axes.fill_between(steps, low, high, alpha=0.2)
        axes.plot([0, *steps], [clean, *values], marker="o")
        axes.set(title=kind, xlabel="strength", xticks=[0, *steps])
        if bounds == (0, 1):
            axes.set_ylim(0, 1.02)
        axes.set_xticklabels(["none", *(f"{row['strength']:g}" for row in rows_of_kind)])
    figure.axes[0].set_ylabel(score_title(name))
    figure.savefig(path, dpi=110)
