"""The training section: curves, configuration and provenance.

Epochs are counted from 1 wherever people read them, as on the console; curves.csv and metrics.json count from 0, as
Lightning does.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from leyden.artifacts import CONFIG, CURVES, METRICS, PROVENANCE
from leyden.data.packed import SPLITS
from leyden.files import read_json
from leyden.files.tables import read_table, require_file
from leyden.stages.report.charts import draw_curves

Curves = dict[str, dict[str, list[tuple[float, float]]]]  # metric: split: points (epoch, value)
MAX_CHARTS = 24
NOT_LOGGED = r"epoch|step|learning_rate(_\d+)?"  # columns of curves.csv that `leyden fit` adds


@dataclass
class Training:
    """The files that `leyden fit` published; `rows` count epochs from 1."""

    metrics: dict[str, Any]
    rows: list[dict[str, str]]
    config: str
    provenance: dict[str, Any]

    @property
    def num_epochs(self) -> int:
        return len({row["epoch"] for row in self.rows})

    @property
    def kept_epoch(self) -> int | None:
        """The epoch, counted from 1, whose weights were published."""
        return self.metrics["epoch"] + 1 if "epoch" in self.metrics else None

    @property
    def reason(self) -> str:
        """Why this epoch was kept; empty if that was not recorded."""
        return str(self.provenance.get("kept_epoch", {}).get("reason", ""))

    @property
    def warning(self) -> str:
        """Why the kept epoch may be a poor choice; empty if `leyden fit` had no doubt."""
        return "; ".join(self.provenance.get("kept_epoch", {}).get("warnings", []))

    @property
    def charts(self) -> list[tuple[str, Markup]]:
        """Draw each metric by epoch."""
        curves = list(group_curves(self.rows).items())[:MAX_CHARTS]
        return [(name, draw_curves(name, by_split, self.kept_epoch)) for name, by_split in curves]

    @property
    def columns(self) -> list[str]:
        """Columns of the table that are not blank."""
        return [name for name in self.rows[0] if any(row[name] for row in self.rows)] if self.rows else []


def read_training(train: Path) -> Training:
    return Training(
        metrics=read_json(train / METRICS, "fit"),
        rows=read_curves(train),
        config=require_file(train / CONFIG, "fit").read_text(encoding="utf-8"),
        provenance=read_provenance(train),
    )


def read_curves(train: Path) -> list[dict[str, str]]:
    """Read curves.csv, with epochs counted from 1."""
    rows = read_table(train / CURVES, "fit")
    return [row | {"epoch": str(int(row["epoch"]) + 1)} for row in rows]


def read_provenance(train: Path) -> dict[str, Any]:
    path = train / PROVENANCE
    empty = {"code_version": "", "data_hash": "", "versions": {}}  # of a run without provenance.json
    return empty | (read_json(path, "fit") if path.is_file() else {})


def group_curves(rows: list[dict[str, str]]) -> Curves:
    """Group what was logged as {metric: {split: [(epoch, value)]}}: loss and accuracy first."""
    curves: Curves = {"loss": {}, "accuracy": {}}
    for row in rows:
        for column, value in row.items():
            if value and not re.fullmatch(NOT_LOGGED, column):
                split, metric = split_name(column)
                curves.setdefault(metric, {}).setdefault(split, []).append((float(row["epoch"]), float(value)))
    return {metric: by_split for metric, by_split in curves.items() if by_split}


def split_name(column: str) -> tuple[str, str]:
    """Return split and metric of a name such as `val/loss`, or `val_loss` in a module of the user's."""
    found = re.fullmatch(rf"([^/]+)/(.+)|({'|'.join(SPLITS)})_(.+)", column)
    if not found:
        return "logged", column
    return found[1] or found[3], found[2] or found[4]
