"""The results of an evaluation, and the files that they become in artifacts/evaluate.

Of every task:

- `metrics.json`: `task`; `headline`, the name of the metric that sums up a model; each metric with `<name>_low` and
  `<name>_high` where it has an interval; `<kind>_<headline>`, the mean of the headline over the three strengths of a
  corruption or an attack; `examples`; `groups`, their number, if two examples are of one; `confidence_level`;
  `required`, if anything is. Metrics of one label are named `<metric>/<label>`.
- `predictions.csv`: a row for each test example: `path`, what is true, what is predicted.
- `errors/slices.csv`: `by`, `slice`, `count`, ..., `p_value`, `falls_short`, the worst slices first.
- `robustness/<headline>.csv` and `.png`: `kind`, `strength`, `<headline>`, `<headline>_low`, `<headline>_high`,
  `examples`.
- The folders `errors`, `pictures`, `plots`, `robustness` and `tables`, which may be empty.

Of tasks with one label for each example, also:

- `predictions.csv`: `label`, `prediction`, `confidence`, and `score:<label>`, at most the 100 highest.
- `tables/per_class.csv`, `tables/calibration.csv`, `plots/calibration.png`.
- `errors/mistakes.csv`, `errors/confusions.csv`, `errors/suspects.csv`.
- `errors/slices.csv`: `errors`, `accuracy`, `accuracy_low`, `accuracy_high`.

Of other tasks, also:

- `predictions.csv`: the reader's `target_rows`, `columns`, then `error`, what the reader's `error_noun` says; of
  masks, also `mask`, the file of the predicted mask.
- `tables/measures.csv`: `measure`, `value`, `low`, `high`, `higher_is_better`, for each metric of metrics.json.
- `tables/per_label.csv`, if metrics of labels exist: `label`, then each metric, `<metric>_low`, `<metric>_high`.
- `errors/largest.csv`: the rows of predictions.csv with the largest errors, the largest first.
- `errors/slices.csv`: `mean_error`, `mean_error_low`, `mean_error_high`.
- If numbers are predicted, `plots/predicted.png` (against true values) and `plots/residuals.png`.
- If each example has any number of labels, `tables/reliability.csv`: `label`, `probability` (mean of a bin), `fraction`
  of the bin's examples that have the label, `count`; and `plots/reliability.png`.
- If values of pixels are predicted, `pictures/masks/<row>.png` of every test example, with the indices of the classes;
  `pictures/overlays/<rank>_<row>.png`, of the examples with the largest errors: image, true and predicted mask.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from leyden import artifacts
from leyden.files import write_json
from leyden.files.tables import write_table

FOLDERS = ("errors", "pictures", "plots", "robustness", "tables")  # always made, since dvc.yaml names them

Row = dict[str, Any]


class Table(NamedTuple):
    """Rows by column name, and the columns that are written."""

    rows: Iterable[Row]
    columns: Sequence[str]


class Results(NamedTuple):
    """What an evaluation found.

    Attributes:
        metrics: Content of metrics.json.
        lower_is_better: Names of the metrics of which lower values are better.
        tables: By their path in the output folder.
        pictures: Functions that write a picture to the path that they are given, by its path in the output folder.
        summary: What is printed, in lines.
    """

    metrics: dict[str, Any]
    lower_is_better: Collection[str]
    tables: Mapping[str, Table]
    pictures: Mapping[str, Callable[[Path], None]]
    summary: list[str]


def write_results(folder: Path, results: Results) -> None:
    """Write the results to an empty folder."""
    for name in FOLDERS:
        (folder / name).mkdir()
    write_json(folder / artifacts.METRICS, results.metrics)
    for name, table in results.tables.items():
        write_table(folder / name, table.rows, table.columns)
    for name, write in results.pictures.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write(folder / name)
