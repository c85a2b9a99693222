"""Figures of the scores, as PNG."""

from pathlib import Path

import numpy as np

from leyden.stages.evaluate.tables import Row


def plot_confusion(path: Path, confusion: np.ndarray, labels: list[str]) -> None:
    from matplotlib.figure import Figure

    side = min(16.0, 2.5 + 0.45 * len(labels))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(
        xlabel="predicted", ylabel="actual", xticks=range(len(labels)), yticks=range(len(labels)), yticklabels=labels
    )
    axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 3 else 0)
    for row, column in zip(*np.nonzero(confusion), strict=True):
        axes.text(
            column,
            row,
            str(confusion[row, column]),
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.5 else "black",
        )
    figure.savefig(path, dpi=110)


def plot_reliability(path: Path, bins: list[dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="perfectly calibrated")
    axes.plot([row["confidence"] for row in bins], [row["accuracy"] for row in bins], marker="o", label="model")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend()
    figure.savefig(path, dpi=110)


def plot_robustness(path: Path, rows: list[Row], clean: float) -> None:
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure = Figure(figsize=(2.4 * len(kinds), 2.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True):
        own = [row for row in rows if row["kind"] == kind]
        middle, low, high = ([row[name] for row in own] for name in ("accuracy", "accuracy_low", "accuracy_high"))
        steps = range(1, len(own) + 1)
        axes.fill_between(steps, low, high, alpha=0.2)
        axes.plot([0, *steps], [clean, *middle], marker="o")
        axes.set(title=kind, xlabel="strength", ylim=(0, 1.02), xticks=[0, *steps])
        axes.set_xticklabels(["none", *(f"{row['strength']:g}" for row in own)])
    figure.axes[0].set_ylabel("accuracy")
    figure.savefig(path, dpi=110)
