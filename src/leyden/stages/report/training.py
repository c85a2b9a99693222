"""The training section: how the model came to be."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from leyden.files import read_json
from leyden.stages.report.charts import draw_curves
from leyden.stages.report.rows import expect, read_rows

MAX_CHARTS = 6
UNRECORDED: dict[str, Any] = {"code_version": "", "data_hash": "", "versions": {}}  # of a training older than its provenance.json


@dataclass
class Training:
    """What `leyden fit` published."""

    metrics: dict[str, Any]
    num_epochs: int
    charts: list[Markup]
    config: str
    provenance: dict[str, Any]


def read_training(train: Path) -> Training:
    metrics = read_json(train / "metrics.json", "fit")
    rows = read_rows(train / "curves.csv", "fit")
    provenance = train / "provenance.json"
    return Training(
        metrics=metrics,
        num_epochs=len({row["epoch"] for row in rows}),
        charts=[draw_curves(name, curves, metrics.get("epoch")) for name, curves in list(curves_of(rows).items())[:MAX_CHARTS]],
        config=expect(train / "config.yaml", "fit").read_text(encoding="utf-8"),
        provenance=UNRECORDED | (json.loads(provenance.read_text(encoding="utf-8")) if provenance.is_file() else {}),
    )


def curves_of(rows: list[dict[str, str]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Gather metrics named `split/name` as {name: {split: [(epoch, value)]}}: the loss first, then the accuracy, then any other."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {"loss": {}, "accuracy": {}}
    for row in rows:
        for column, value in row.items():
            split, slash, name = column.partition("/")
            if slash and value:
                curves.setdefault(name, {}).setdefault(split, []).append((float(row["epoch"]), float(value)))
    return {name: by_split for name, by_split in curves.items() if by_split}
