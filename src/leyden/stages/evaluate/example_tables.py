"""Tables of any task: the predictions, the largest errors, the measures, the measures of each label."""

from collections.abc import Sequence

import numpy as np

from leyden import artifacts
from leyden.outputs.reader import OutputReader
from leyden.stages.evaluate.results import Row, Table
from leyden.stages.evaluate.scored_split import Estimated, ScoredSplit

MAX_ERRORS = 100  # in the table of the largest
MEASURE_COLUMNS = ("measure", "value", "low", "high", "higher_is_better")


def tabulate_examples(reader: OutputReader, test: ScoredSplit, limit: int) -> dict[str, Table]:
    """Return predictions.csv, and its rows with the largest errors."""
    target_rows = reader.target_rows(test.targets)
    rows: list[Row] = [
        {"path": path} | true | predicted | {"error": "" if np.isnan(error) else f"{error:.6g}"}
        for path, true, predicted, error in zip(test.paths, target_rows, test.rows, test.errors.tolist(), strict=True)
    ]
    if reader.is_dense:
        rows = [row | {"mask": mask_file(number)} for number, row in enumerate(rows)]
    columns = ("path", *target_rows[0], *reader.columns(limit), "error", *(("mask",) if reader.is_dense else ()))
    largest = [rows[index] for index in rank_errors(test.errors)[:MAX_ERRORS]]
    return {artifacts.PREDICTIONS: Table(rows, columns), artifacts.LARGEST_ERRORS: Table(largest, columns)}


def mask_file(row: int) -> str:
    """Return where the predicted mask of a test example is, in the output folder."""
    return f"{artifacts.MASKS}/{row:06}.png"


def rank_errors(errors: np.ndarray) -> list[int]:
    """Return the rows of the examples whose error is above 0, the largest first; NaN is left out."""
    order = np.argsort(-errors, kind="stable")
    return order[errors[order] > 0].tolist()


def list_measures(estimates: Sequence[Estimated]) -> Table:
    rows: list[Row] = []
    for measure, value, interval in estimates:
        values = (measure.name, value, *(interval or ("", "")), measure.higher_is_better)
        rows.append(dict(zip(MEASURE_COLUMNS, values, strict=True)))
    return Table(rows, MEASURE_COLUMNS)


def list_per_label(estimates: Sequence[Estimated], labels: Sequence[str]) -> Table:
    """Return a row for each label with those metrics that are named `<metric>/<label>`."""
    cells: dict[str, Row] = {label: {} for label in labels}
    columns: dict[str, None] = {"label": None}
    for measure, value, interval in estimates:
        name, _, label = measure.name.partition("/")
        if label in cells:
            entries = dict(zip((name, f"{name}_low", f"{name}_high"), (value, *(interval or ("", ""))), strict=True))
            cells[label] |= entries
            columns |= dict.fromkeys(entries)
    return Table([{"label": label} | row for label, row in cells.items() if row], tuple(columns))
