"""Artifacts of tasks where an example does not have exactly one label, written over those of a classifier."""

import shutil
from typing import Any

import numpy as np
from PIL import Image

from leyden.files import read_json, write_json
from tests.stages.report.fake_artifacts import SPLITS, Artifacts, write_rows

MEASURE_COLUMNS = ["measure", "value", "low", "high", "higher_is_better"]
SLICE_COLUMNS = ["by", "slice", "count", "mean_error", "mean_error_low", "mean_error_high", "p_value", "falls_short"]
Rows = list[list[Any]]


def write_task(artifacts: Artifacts, labels: list[str], task: dict[str, Any], targets: np.ndarray) -> None:
    """Write what was prepared: the same targets (12, ...) in each split, 4 of the examples with each label."""
    counts = {split: dict.fromkeys(labels, 4) for split in SPLITS}
    artifacts.change_report(labels=labels, task=task, counts=counts, sizes=dict.fromkeys(SPLITS, len(targets)))
    for split in SPLITS:
        np.save(artifacts.root / f"prepare/{split}.targets.npy", targets)
    shutil.rmtree(artifacts.root / "evaluate")
    for name in ("tables", "errors", "robustness", "plots", "pictures/overlays"):
        (artifacts.root / "evaluate" / name).mkdir(parents=True)


def write_scores(artifacts: Artifacts, headline: str, measures: Rows, columns: list[str], cells: Rows) -> None:
    """Write an evaluation: rows of MEASURE_COLUMNS, the columns and cells of the predictions, one weak slice."""
    folder = artifacts.root / "evaluate"
    metrics: dict[str, Any] = {"headline": headline, "examples": len(cells), "confidence_level": 0.95}
    for name, value, low, high, _ in measures:
        metrics |= {name: value} | ({f"{name}_low": low, f"{name}_high": high} if low != "" else {})
    write_json(folder / "metrics.json", metrics)
    export = artifacts.root / "export/report.json"
    write_json(export, [row | {"score_name": headline, "score": measures[0][1]} for row in read_json(export, "export")])
    write_json(artifacts.root / "train/metrics.json", {"val/loss": 0.5, "epoch": 0})
    write_rows(artifacts.root / "train/curves.csv", ["epoch", "step", "val/loss"], [[0, 1, 0.5]])
    write_rows(folder / "tables/measures.csv", MEASURE_COLUMNS, measures)
    rows = [[path, *row] for path, row in zip(artifacts.paths, cells, strict=True)]
    write_rows(folder / "predictions.csv", ["path", *columns], rows)
    write_rows(folder / "errors/largest.csv", ["path", *columns], sorted(rows, key=lambda row: -row[-1])[:2])
    weak = ["label my_label", "present", 5, 2.5, 1.5, 3.5, 0.01, "True"]
    write_rows(folder / "errors/slices.csv", SLICE_COLUMNS, [weak])
    value = measures[0][1]
    robustness = [["blur", strength, value, value * 0.99, value * 1.01, len(cells)] for strength in (1, 2, 3)]
    columns = ["kind", "strength", headline, f"{headline}_low", f"{headline}_high", "examples"]
    write_rows(folder / f"robustness/{headline}.csv", columns, robustness)


def make_regression(artifacts: Artifacts, r2_low: float = 0.8, coverage: tuple[float, ...] = (0.9, 0.8, 0.95)) -> None:
    """Write a regression of one angle, in degrees; the prediction is the number of the example plus 1, then 2."""
    targets = np.arange(12, dtype=np.float32)[:, None]
    task = {"name": "regression", "units": ["deg"], "mean": [5.5], "std": [3.5]}
    write_task(artifacts, ["angle_deg"], task, targets)
    measures = [
        ["mae", 1.5, 1.25, 1.75, False],
        ["r2", 0.9, r2_low, 0.95, True],
        ["coverage", *coverage, True],
    ]
    columns = ["true_angle_deg", "angle_deg", "angle_deg_low", "angle_deg_high", "error"]
    cells = [[n, n + 1 + n % 2, n - 2, n + 4, 1 + n % 2] for n in range(12)]
    write_scores(artifacts, "mae", measures, columns, cells)
    Image.new("RGB", (200, 200), "white").save(artifacts.root / "evaluate/plots/predicted.png")


def make_multilabel(artifacts: Artifacts, low: float = 0.7) -> None:
    """Write a model of two labels, each of which a third of the examples have."""
    targets = np.zeros((12, 2), np.uint8)
    targets[:4] = 1
    write_task(artifacts, ["day", "night"], {"name": "multilabel"}, targets)
    measures = [
        ["mean_average_precision", 0.8, low, 0.9, True],
        ["macro_f1", 0.6, 0.5, 0.7, True],
        ["hamming_loss", 0.1, 0.05, 0.15, False],
    ]
    columns = ["true_labels", "labels", "probability_day", "probability_night", "error"]
    cells = [["day;night", "day", 0.9, 0.1, 1]] + [["", "", 0.1, 0.1, 0]] * 11
    write_scores(artifacts, "mean_average_precision", measures, columns, cells)
    names = ["label", "recall", "recall_low", "recall_high"]
    write_rows(
        artifacts.root / "evaluate/tables/per_label.csv", names, [["day", 0.75, 0.5, 0.9], ["night", 0.5, "", ""]]
    )


def make_masks(artifacts: Artifacts, low: float = 0.5) -> None:
    """Write a segmentation of two classes, of which the first has three quarters of the pixels."""
    targets = np.zeros((12, 6, 5), np.uint8)
    write_task(artifacts, ["ground", "tree"], {"name": "segmentation"}, targets)
    columns = ["true_share_ground", "true_share_tree", "share_ground", "share_tree", "mask", "error"]
    cells = [[0.75, 0.25, 0.5, 0.5, f"pictures/masks/{row}.png", 0.25 + row / 100] for row in range(12)]
    write_scores(artifacts, "mean_iou", [["mean_iou", 0.6, low, 0.7, True]], columns, cells)
    Image.new("RGB", (190, 60), "red").save(artifacts.root / "evaluate/pictures/overlays/0_11.png")
