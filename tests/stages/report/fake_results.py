"""Results of a good model as the report reads them, with any part changed: no files, no training."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from leyden.outputs import load_reader
from leyden.stages.report.confusion import count_confusion
from leyden.stages.report.dataset import Class, Dataset
from leyden.stages.report.duplicates import Duplicates, PairCounts
from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.exports import Exports
from leyden.stages.report.results import Results
from leyden.stages.report.slices import Slices
from leyden.stages.report.training import Training

METRICS = {
    **{"accuracy": 0.9, "accuracy_low": 0.87, "accuracy_high": 0.93},
    **{"calibration_error": 0.02, "calibration_error_low": 0.01, "calibration_error_high": 0.03},
    **{"examples": 400, "errors": 40, "confidence_level": 0.95, "required": {"accuracy": 0.8}},
}
METHOD = {
    **{"deletion_auc": 0.2, "random_deletion_auc": 0.5, "insertion_auc": 0.7, "random_insertion_auc": 0.5},
    "randomisation_similarity": 0.1,
}


READER = load_reader({"labels": ["ant", "bee"]})


def make_slice(by: str, name: str, count: int, accuracy: float, falls_short: str) -> dict[str, str]:
    return {"by": by, "slice": name, "count": str(count), "accuracy": str(accuracy), "falls_short": falls_short}


SLICES = [make_slice("class", "ant", 200, 0.9, "False"), make_slice("brightness", "0 to 1", 100, 0.9, "False")]


def make_class(label: str, count: int, recall: float) -> dict[str, str]:
    return {"label": label, "count": str(count), "recall": str(recall)}


def make_evaluation(metrics: dict[str, Any] | None = None, slices: Any = SLICES, **changes: Any) -> Evaluation:
    classes = [make_class("ant", 200, 1), make_class("bee", 200, 0.8)]
    values: dict[str, Any] = {"classes": classes, "majority_fraction": 0.5, "suspects": [], "robustness": {}}
    fixed = {"scores": [], "confusion": count_confusion([], []), "reliability": Markup(), "shown": [], "noun": "image"}
    return Evaluation(
        reader=READER, metrics=METRICS | (metrics or {}), slices=Slices(slices, "image"), **fixed, **(values | changes)
    )


def make_duplicates(exact: tuple[int, int] = (0, 0), near: tuple[int, int] = (0, 0), **changes: int) -> Duplicates:
    """Make duplicates from the numbers of pairs with different labels and of those in different splits."""
    counts = [PairCounts(kind, sum(pairs), *pairs) for kind, pairs in (("exact", exact), ("near", near))]
    return Duplicates(
        counts=counts,
        shown=[],
        pictures={},
        groups=[],
        **({"num_harmless": 0, "num_groups": 0, "near_applies": True} | changes),
    )


def make_dataset(train: dict[str, int] | None = None, test: dict[str, int] | None = None, **changes: Any) -> Dataset:
    train, test = train or {"ant": 500, "bee": 500}, test or {"ant": 200, "bee": 200}
    counts = {label: [train[label], 50, test[label]] for label in train}
    totals = {split: sum(row[index] for row in counts.values()) for index, split in enumerate(("train", "val", "test"))}
    values: dict[str, Any] = {
        **{"folder": "data", "prepared": "prepare", "data_hash": "abc", "stored": "pixels", "num_bytes": 1},
        "input": {"channels": 3, "image_size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3},
        **{"reader": READER, "distributions": []},
        "classes": [Class(label, row, [0.1, 0.1, 0.1]) for label, row in counts.items()],
        "counts": totals,
        "spreads": {name: {"min": 30, "median": 32, "max": 40} for name in ("height", "width")},
        **{"modes": {"RGB": 9}, "issues": [], "num_rejected": 0, "rejected": [], "reasons": [], "contact_sheets": {}},
        "duplicates": make_duplicates(),
    }
    return Dataset(**(values | changes))


def make_training(
    val_loss: list[float] | None = None,
    val_accuracy: list[float] | None = None,
    config: str = "",
    trained_on: str = "abc",
    warnings: Sequence[str] = (),
) -> Training:
    columns = {"val/loss": val_loss or [1, 0.5, 0.5, 0.5], "val/accuracy": val_accuracy or [0.5, 0.9, 0.9, 0.9]}
    rows = [
        {"epoch": str(epoch + 1)} | {name: str(values[epoch]) for name, values in columns.items()}
        for epoch in range(len(columns["val/loss"]))
    ]
    provenance = {"code_version": "", "data_hash": trained_on, "versions": {}, "kept_epoch": {"warnings": warnings}}
    return Training({"epoch": 1}, rows, config, provenance)


def make_exports(status: str = "checked", num_refused: int = 0, **entries: Any) -> Exports:
    row = {"format": "onnx", "precision": "fp32", "status": status, "agreement": 1.0, "speedup_b1": None} | entries
    refused = {"format": "onnx", "precision": "int8", "status": "refused", "agreement": 0.9}
    return Exports([row], None, "image", skipped=[], refused=[refused] * num_refused, reader=READER)


def make_explanations(**metrics: float) -> Explanations:
    return Explanations({"saliency": METHOD | metrics}, [], 0, {}, {}, [], [], [])


def make_results(**changes: Any) -> Results:
    """Make results of a model that is ready to ship; the value of each change replaces a stage's results."""
    good = {
        "dataset": make_dataset(),
        "training": make_training(),
        "evaluation": make_evaluation(),
        "exports": make_exports(),
        "explanations": make_explanations(),
    }
    return Results(**(good | changes))
