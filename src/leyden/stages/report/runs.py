"""What a run left in its artifacts folder, as far as two runs can be compared."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from leyden.artifacts import CONFIG, CURVES, EXPORT_REPORT, METRICS, PER_CLASS, PREDICTIONS
from leyden.errors import UserError
from leyden.files import read_json
from leyden.files.tables import read_table
from leyden.stages.report.exports import Exports, read_exports
from leyden.stages.report.predictions import Prediction, read_predictions
from leyden.stages.report.training import Curves, curves_of, read_provenance


@dataclass
class Run:
    """Figures, predictions, curves and provenance of a run; `hashes` are the contents of its test examples by path, if they are known."""

    name: str
    metrics: dict[str, Any]
    predictions: dict[str, Prediction]
    classes: dict[str, dict[str, str]]
    hashes: dict[str, str]
    data_hash: str
    counts: dict[str, int]
    curves: Curves
    config: dict[str, str]
    provenance: dict[str, Any]
    exports: Exports | None


def check_run(artifacts: Path) -> None:
    """Stop at what is not another run's folder.

    Raises:
        UserError: with what is missing in it.
    """
    for name in (
        "prepare/report.json",
        "prepare/manifest.csv",
        f"evaluate/{METRICS}",
        f"evaluate/{PREDICTIONS}",
        f"evaluate/{PER_CLASS}",
    ):
        if not (artifacts / name).is_file():
            raise UserError(
                f"report.against must be a run's artifacts folder; got {artifacts}, without {name}; give a copy of artifacts/ as `make repro` left it"
            )


def read_run(name: str, prepare: Path, train: Path, evaluate: Path, export: Path, noun: str) -> Run:
    """Read a run; what it did not train or export is left empty."""
    found = read_json(prepare / "report.json", "prepare")
    has_training = (train / CONFIG).is_file() and (train / CURVES).is_file()
    return Run(
        name=name,
        metrics=read_json(evaluate / METRICS, "evaluate"),
        predictions={prediction.path: prediction for prediction in read_predictions(evaluate / PREDICTIONS)},
        classes={row["label"]: row for row in read_table(evaluate / PER_CLASS, "evaluate")},
        hashes={
            row["path"]: row["sha256"]
            for row in read_table(prepare / "manifest.csv", "prepare")
            if row["split"] == "test"
        },
        data_hash=found["data_hash"],
        counts={split: sum(own.values()) for split, own in found["counts"].items()},
        curves=curves_of(read_table(train / CURVES, "fit")) if has_training else {},
        config=flat(yaml.safe_load((train / CONFIG).read_text(encoding="utf-8")) or {}) if has_training else {},
        provenance=read_provenance(train),
        exports=read_exports(export, noun) if (export / EXPORT_REPORT).is_file() else None,
    )


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Name each setting by its path: `trainer.max_epochs`."""
    found: dict[str, str] = {}
    for name, value in config.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": json.dumps(value)}
    return found
