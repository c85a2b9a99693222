"""The table and the plot of scores on degraded images."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from leyden.stages.evaluate.plots import plot_robustness
from leyden.stages.evaluate.results import Row, Table
from leyden.stages.evaluate.robustness import robustness_columns, robustness_file
from leyden.statistics.measures import AnyMeasure


def tabulate_robustness(
    rows: list[Row], headline: AnyMeasure, metrics: dict[str, Any]
) -> tuple[dict[str, Table], dict[str, Callable[[Path], None]]]:
    """Return the table of rows from `measure_robustness`, and their plot unless there are none to draw."""
    name = headline.name
    tables = {robustness_file(name): Table(rows, robustness_columns(name))}
    if not rows or name not in metrics:
        return tables, {}
    plot = partial(plot_robustness, rows=rows, name=name, clean=metrics[name], bounds=headline.bounds)
    return tables, {robustness_file(name, ".png"): plot}
