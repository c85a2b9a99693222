"""Reading of a run's artifacts folder, for the comparison of two runs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden.artifacts import CONFIG, CURVES, EXPORT_REPORT, METRICS, PER_CLASS, PREDICTIONS
from leyden.data.packed import MANIFEST, REPORT, read_report
from leyden.errors import UserError
from leyden.files import read_json
from leyden.files.tables import read_table
from leyden.outputs import load_reader
from leyden.stages.report.exports import Exports, read_exports
from leyden.stages.report.predictions import Prediction, read_predictions
from leyden.stages.report.training import Curves, group_curves, read_curves, read_provenance
from leyden.yaml_files import read_yaml

REQUIRED = (
    f"prepare/{REPORT}",
    f"prepare/{MANIFEST}",
    f"evaluate/{METRICS}",
    f"evaluate/{PREDICTIONS}",
    f"evaluate/{PER_CLASS}",
)


@dataclass
class Run:
    """Metrics, predictions, curves and provenance of a run.

    `predictions` and `hashes`, the SHA-256 of each test example ("" if unknown), are by the example's path.
    """

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
    """Check that a folder holds an evaluated run.

    Raises:
        UserError: if a required file does not exist.
    """
    for name in REQUIRED:
        if not (artifacts / name).is_file():
            raise UserError(
                f"report.against must be a run's artifacts folder; got {artifacts}, without {name}; "
                "pass a copy of artifacts/ as written by `make repro`"
            )


def read_run(name: str, folders: list[Path], noun: str) -> Run:
    """Read a run from the outputs of prepare, train, evaluate and export; train and export need not exist."""
    prepare, train, evaluate, export = folders
    report = read_report(prepare)
    manifest = read_table(prepare / MANIFEST, "prepare", ["path", "split", "sha256"])
    has_training = (train / CONFIG).is_file() and (train / CURVES).is_file()
    config = read_yaml(train / CONFIG) if has_training else None
    return Run(
        name=name,
        metrics=read_json(evaluate / METRICS, "evaluate"),
        predictions={prediction.path: prediction for prediction in read_predictions(evaluate / PREDICTIONS)},
        classes={row["label"]: row for row in read_table(evaluate / PER_CLASS, "evaluate")},
        hashes={row["path"]: row["sha256"] for row in manifest if row["split"] == "test"},
        data_hash=report["data_hash"],
        counts={split: sum(by_class.values()) for split, by_class in report["counts"].items()},
        curves=group_curves(read_curves(train)) if has_training else {},
        config=flatten_config(config or {}),
        provenance=read_provenance(train),
        exports=read_exports(export, noun, load_reader(report)) if (export / EXPORT_REPORT).is_file() else None,
    )


def flatten_config(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings as JSON by their dotted path: `trainer.max_epochs`."""
    settings: dict[str, str] = {}
    for name, value in config.items():
        path = f"{prefix}{name}"
        settings |= flatten_config(value, f"{path}.") if isinstance(value, dict) else {path: json.dumps(value)}
    return settings
