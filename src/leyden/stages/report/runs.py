"""Reading of a run's artifacts folder, for the comparison of two runs."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden.artifacts import CONFIG, CURVES, EXPORT_REPORT, LESS_IS_BETTER, MEASURES, METRICS, PER_CLASS, PREDICTIONS
from leyden.data.packed import MANIFEST, REPORT, SPLITS, read_report
from leyden.errors import UserError
from leyden.files import read_json
from leyden.files.tables import read_table
from leyden.outputs import load_reader
from leyden.outputs.reader import OutputReader
from leyden.stages.report.dataset import count_examples
from leyden.stages.report.exports import Exports, read_exports
from leyden.stages.report.predictions import Prediction, read_predictions
from leyden.stages.report.tables import read_optional_table
from leyden.stages.report.training import Curves, group_curves, read_curves, read_provenance
from leyden.yaml_files import read_yaml

REQUIRED = (
    f"prepare/{REPORT}",
    f"prepare/{MANIFEST}",
    f"evaluate/{METRICS}",
    f"evaluate/{PREDICTIONS}",
)


@dataclass
class Run:
    """Metrics, predictions, curves and provenance of a run.

    `predictions`, `hashes`, the SHA-256 of each test example ("" if unknown), and `groups` ("" for none) are by the
    example's path.
    """

    name: str
    metrics: dict[str, Any]
    reader: OutputReader
    rows: list[dict[str, str]]  # of predictions.csv; empty if the headline is the accuracy, which needs no outputs
    lower_is_better: Collection[str]
    predictions: dict[str, Prediction]  # empty unless each example has one label
    classes: dict[str, dict[str, str]]
    hashes: dict[str, str]
    groups: dict[str, str]
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
    is_classifier = (artifacts / "prepare" / REPORT).is_file() and load_reader(
        read_report(artifacts / "prepare")
    ).has_one_label
    for name in (*REQUIRED, f"evaluate/{PER_CLASS if is_classifier else MEASURES}"):
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
    reader = load_reader(report)
    has_training = (train / CONFIG).is_file() and (train / CURVES).is_file()
    config = read_yaml(train / CONFIG) if has_training else None
    return Run(
        name=name,
        metrics=read_json(evaluate / METRICS, "evaluate"),
        reader=reader,
        rows=[] if reader.headline == "accuracy" else read_table(evaluate / PREDICTIONS, "evaluate", ["path"]),
        lower_is_better=LESS_IS_BETTER if reader.has_one_label else read_lower_is_better(evaluate),
        predictions={
            row.path: row for row in (read_predictions(evaluate / PREDICTIONS) if reader.has_one_label else [])
        },
        classes={row["label"]: row for row in read_optional_table(evaluate / PER_CLASS, "evaluate")},
        hashes={row["path"]: row["sha256"] for row in manifest if row["split"] == "test"},
        groups={row["path"]: row.get("group", "") for row in manifest if row["split"] == "test"},
        data_hash=report["data_hash"],
        counts={split: count_examples(report, split) for split in SPLITS},
        curves=group_curves(read_curves(train)) if has_training else {},
        config=flatten_config(config or {}),
        provenance=read_provenance(train),
        exports=read_exports(export, noun, reader) if (export / EXPORT_REPORT).is_file() else None,
    )


def read_lower_is_better(evaluate: Path) -> set[str]:
    """Return the metrics of which lower values are better."""
    rows = read_table(evaluate / MEASURES, "evaluate", ["measure", "higher_is_better"])
    return {row["measure"] for row in rows if row["higher_is_better"] == "False"}


def flatten_config(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings as JSON by their dotted path: `trainer.max_epochs`."""
    settings: dict[str, str] = {}
    for name, value in config.items():
        path = f"{prefix}{name}"
        settings |= flatten_config(value, f"{path}.") if isinstance(value, dict) else {path: json.dumps(value)}
    return settings
