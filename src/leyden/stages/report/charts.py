"""Plots as inline SVG, in the fonts and colours of the page (light or dark); the same numbers give the same bytes."""

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from leyden.data.packed import SPLITS
from leyden.outputs.score_format import score_title
from leyden.stages.report.formatting import capitalize_first

# Placeholder colours that matplotlib writes and that `inline` replaces with the page's own.
INK, FAINT, SERIES = "#010203", "#010204", ("#010205", "#010206", "#010207", "#010208")
PAGE_COLOURS = {INK: "currentColor", FAINT: "var(--faint)"} | {
    colour: f"var(--series-{rank})" for rank, colour in enumerate(SERIES, start=1)
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.6,
    **dict.fromkeys(("axes.labelsize", "legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 9),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top", "legend.frameon"), False),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), FAINT),
    **dict.fromkeys(("axes.labelcolor", "axes.titlecolor", "text.color", "xtick.labelcolor", "ytick.labelcolor"), INK),
}
Lines = dict[str, list[tuple[float, float]]]  # split: points (epoch, value)
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def draw(name: str, alt: str, width: float, height: float, plot: Callable[[Figure], None]) -> Markup:
    """Draw a figure as inline SVG.

    Args:
        name: Prefix of the ids in the SVG; unique in the page.
        alt: Text alternative for screen readers.
        width: In inches; the page scales it.
        height: In inches.
        plot: Draws on the figure.
    """
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        plot(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    return inline(buffer.getvalue(), name, alt)


def inline(svg: str, name: str, alt: str) -> Markup:
    """Turn an SVG file into a part of an HTML page: no prologue, the page's fonts and colours, unique ids."""
    view = re.search(r'viewBox="[^"]+"', svg)
    assert view, "matplotlib always writes a viewBox"
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<style.*?</style>|<metadata.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", body)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for placeholder, colour in PAGE_COLOURS.items():
        body = body.replace(placeholder, colour)
    return Markup(f'<svg class="chart" {view.group()} role="img" aria-label="{Markup.escape(alt)}">{body.strip()}')


def draw_curves(name: str, curves: Lines, kept_epoch: int | None, other: Lines | None = None) -> Markup:
    """Draw a metric by epoch: a solid line per split, and a dashed one per split of the other run."""
    lines = [(split, split, points, "o-") for split, points in curves.items()]
    lines += [(f"{split} (other)", split, points, "--") for split, points in (other or {}).items()]

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for label, split, points, style in lines:
            # A split has the same colour in every chart.
            colour = SERIES[SPLITS.index(split) if split in SPLITS else -1]
            axes.plot(*zip(*points, strict=True), style, color=colour, label=label, markersize=3, linewidth=1.5)
        if kept_epoch is not None:
            axes.axvline(kept_epoch, color=INK, linewidth=0.8, linestyle=":", label="kept weights")
        axes.set(xlabel="epoch", title=capitalize_first(score_title(name)))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(ncols=min(3, len(lines) + 1))

    ends = ", ".join(f"{label} from {points[0][1]:.3g} to {points[-1][1]:.3g}" for label, _, points, _ in lines)
    return draw("curve-" + re.sub(r"\W+", "-", name), f"{name} by epoch: {ends}", 4.6, 2.9, plot)


def draw_reliability(bins: list[dict[str, str]], noun: str) -> Markup:
    """Draw the accuracy at each confidence, above the number of examples at that confidence."""
    confidence, accuracy, counts = ([float(row[key]) for row in bins] for key in ("confidence", "accuracy", "count"))

    def plot(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="perfect calibration")
        upper.plot(confidence, accuracy, color=SERIES[0], marker="o", markersize=5, label="model")
        upper.set(ylabel="accuracy", ylim=(0, 1.04), title="Reliability")
        upper.legend(loc="lower right" if min(accuracy) > 0.3 else "upper left")
        lower.bar(confidence, counts, width=0.05, color=SERIES[0])
        lower.set(xlabel="confidence", ylabel=f"{noun}s", xlim=(0, 1.02))

    points = "; ".join(
        f"confidence {c:.2f}, accuracy {a:.2f}, {n:.0f} {noun}s"
        for c, a, n in zip(confidence, accuracy, counts, strict=True)
    )
    return draw("reliability", f"Reliability diagram: {points}", 4.6, 3.9, plot)
