"""The training section: curves, configuration and provenance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from leyden.artifacts import CONFIG, CURVES, METRICS, PROVENANCE
from leyden.files import read_json
from leyden.files.tables import read_table, require_file
from leyden.stages.report.charts import draw_curves

Curves = dict[str, dict[str, list[tuple[float, float]]]]  # metric: split: points (epoch, value)
MAX_CHARTS = 6


@dataclass
class Training:
    """The files that `leyden fit` published."""

    metrics: dict[str, Any]
    rows: list[dict[str, str]]
    config: str
    provenance: dict[str, Any]

    @property
    def num_epochs(self) -> int:
        return len({row["epoch"] for row in self.rows})

    @property
    def charts(self) -> list[tuple[str, Markup]]:
        """Draw each metric by epoch."""
        curves = list(group_curves(self.rows).items())[:MAX_CHARTS]
        return [(name, draw_curves(name, by_split, self.metrics.get("epoch"))) for name, by_split in curves]

    @property
    def columns(self) -> list[str]:
        """Columns of the table that are not blank."""
        return [name for name in self.rows[0] if any(row[name] for row in self.rows)] if self.rows else []


def read_training(train: Path) -> Training:
    return Training(
        metrics=read_json(train / METRICS, "fit"),
        rows=read_table(train / CURVES, "fit"),
        config=require_file(train / CONFIG, "fit").read_text(encoding="utf-8"),
        provenance=read_provenance(train),
    )


def read_provenance(train: Path) -> dict[str, Any]:
    path = train / PROVENANCE
    empty = {"code_version": "", "data_hash": "", "versions": {}}  # of a run without provenance.json
    return empty | (read_json(path, "fit") if path.is_file() else {})


def group_curves(rows: list[dict[str, str]]) -> Curves:
    """Group columns named `split/metric` as {metric: {split: [(epoch, value)]}}: loss and accuracy first."""
    curves: Curves = {"loss": {}, "accuracy": {}}
    for row in rows:
        for column, value in row.items():
            split, slash, metric = column.partition("/")
            if slash and value:
                curves.setdefault(metric, {}).setdefault(split, []).append((float(row["epoch"]), float(value)))
    return {metric: by_split for metric, by_split in curves.items() if by_split}
