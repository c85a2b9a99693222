"""The distribution of each target that is a number."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from leyden.data.packed import SPLITS, read_examples
from leyden.outputs.number_format import four_digits
from leyden.outputs.reader import OutputReader
from leyden.stages.report.charts import SERIES, draw

NUM_BINS = 20
MAX_CHARTS = 12


class Distribution(NamedTuple):
    """A target: its unit, its smallest value, median and largest by split, and a histogram (None if not drawn)."""

    label: str
    unit: str
    spreads: dict[str, tuple[float, float, float]]
    chart: Markup | None


def read_distributions(prepare: Path, reader: OutputReader) -> list[Distribution]:
    """Return the targets' distributions over the examples; none if the targets are no numbers."""
    if not reader.predicts_numbers:
        return []
    targets = {split: np.asarray(read_examples(prepare, split)[1], np.float64) for split in SPLITS}
    distributions = []
    for index, label in enumerate(reader.labels):
        values = {split: each[:, index] for split, each in targets.items() if len(each)}
        spreads = {
            split: (float(each.min()), float(np.median(each)), float(each.max())) for split, each in values.items()
        }
        unit = reader.unit(f"mae/{label}")
        chart = draw_histogram(index, label, unit, values) if index < MAX_CHARTS else None
        distributions.append(Distribution(label, unit, spreads, chart))
    return distributions


def draw_histogram(number: int, label: str, unit: str, values: dict[str, np.ndarray]) -> Markup:
    """Draw how many examples of each split, stacked, have which values."""
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), NUM_BINS)

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        colours = [SERIES[SPLITS.index(split)] for split in values]
        axes.hist(list(values.values()), bins=edges.tolist(), stacked=True, color=colours, label=list(values))
        axes.set(xlabel=unit, ylabel="examples", title=label)
        axes.margins(y=0.2)  # room for the legend
        axes.legend(ncols=len(values))

    ends = "; ".join(
        f"{split} from {four_digits(each.min())} to {four_digits(each.max())}" for split, each in values.items()
    )
    return draw(f"targets-{number}", f"Histogram of {label}: {ends}", 4.6, 2.9, plot)
