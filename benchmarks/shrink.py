"""Speed and accuracy of int8 files and of half the channels, against the float32 checkpoint in eager torch.

The default network on the sample data, and torchvision's ResNet-18 at 64x64 on images of CIFAR-10 (CIFAR10=FOLDER
names them; without it, on the sample data's digits, enlarged). Every figure comes from `leyden export`, which times
and scores the file and the checkpoint on the same test images in one run; medians over several runs. Accuracies are
in percentage points: the loss by int8, and the loss by half the channels (fine-tuned) and int8 together. glibc keeps
freed memory here (MALLOC_..._THRESHOLD_): otherwise eager torch returns its activations to the system in every call,
and looks up to three times slower than it is.
"""

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from cifar10 import cifar10_folder
from timing import Row, Skip, project, time_once

REPEATS = 3
EPOCHS, PRUNED_EPOCHS, PER_CLASS = 10, 10, 1000
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
INT8 = """
formats: {onnx: [int8]}
tolerance: {int8: {max_relative_diff: 1000, agreement: 0}}  # a loss is a result here, not a failure
num_examples: 2000
"""
PRUNED = """
network:
  class_path: leyden.models.channel_pruning.narrow_network
  init_args:
    network:
      class_path: leyden.models.TorchvisionNet
      init_args: {name: resnet18}
    keep_fraction: 0.5
model:
  init_args:
    start_from: {path: wide.ckpt, mode: prune}
    optimizer:
      init_args: {lr: 0.001}
"""

Metrics = dict[str, float]  # ms at batch 1 and 64, and accuracy, of int8 and of the checkpoint


def measure() -> list[Row]:
    os.environ |= MALLOC
    with project() as small, project() as large:
        time_once(["leyden", "sample"], small)
        time_once(["leyden", "prepare"], small)
        time_once(["leyden", "fit"], small)
        rows = [export_seconds(small), *comparison_rows("int8", "int8_lost", score(small), {64: "3.4", 1: "6.5"})]
        time_once(
            ["leyden", "prepare", "-c", "configs/prepare.yaml", f"--data={images(large)}", "--image_size=[64,64]"],
            large,
        )
        time_once(
            [
                "leyden",
                "fit",
                "-c",
                "configs/train.yaml",
                "-c",
                "configs/experiment/torchvision.yaml",
                f"--trainer.max_epochs={EPOCHS}",
            ],
            large,
        )
        wide = score(large)
        rows += comparison_rows("int8_resnet18", "int8_resnet18_lost", wide, {64: "4.7", 1: "25"})
        (large / "artifacts/train/model.ckpt").rename(large / "wide.ckpt")
        (large / "pruned.yaml").write_text(PRUNED)
        time_once(
            ["leyden", "fit", "-c", "configs/train.yaml", "-c", "pruned.yaml", f"--trainer.max_epochs={PRUNED_EPOCHS}"],
            large,
        )
        pruned = score(large) | {key: value for key, value in wide.items() if key.startswith("eager")}
        return rows + comparison_rows("pruned_latency", "pruned_lost", pruned, {64: "13"})


def images(folder: Path) -> Path:
    """Link to PER_CLASS training images of each of CIFAR-10's classes and all test images, or write the sample data."""
    try:
        source = cifar10_folder()
    except Skip:
        time_once(["leyden", "sample"], folder)
        return folder / "data"
    for group in [*source.glob("train/*"), *source.glob("test/*")]:
        target = folder / "data" / group.relative_to(source)
        target.mkdir(parents=True)
        files = sorted(group.iterdir())
        for path in files[:PER_CLASS] if group.parent.name == "train" else files:
            (target / path.name).symlink_to(path.resolve())
    return folder / "data"


def export_seconds(folder: Path) -> Row:
    """Time the whole stage as it is configured: every format is written and checked."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        time_once(["leyden", "export"], folder)
        times.append(time.perf_counter() - started)
    return Row("export_seconds", round(statistics.median(times), 1), "s", None, None, "at most 60 s", REPEATS)


def score(folder: Path) -> Metrics:
    """Export int8 several times; return medians."""
    (folder / "int8.yaml").write_text(INT8)
    runs = []
    for _ in range(REPEATS):
        time_once(["leyden", "export", "-c", "int8.yaml"], folder)
        runs.append(read_metrics(json.loads((folder / "artifacts/export/report.json").read_text())))
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def read_metrics(report: list[dict[str, Any]]) -> Metrics:
    rows = {"eager" if row["format"] == "eager" else row["precision"]: row for row in report}
    keys = ("latency_ms_b1_p50", "latency_ms_b64_p50", "score")
    return {f"{name} {key}": rows[name][key] for name in ("int8", "eager") for key in keys}


def comparison_rows(title: str, lost: str, metrics: Metrics, goals: dict[int, str]) -> list[Row]:
    """Return a row of images per second for each batch size, and one of the loss of accuracy."""
    rows = []
    for batch, goal in goals.items():
        value, baseline = (1000 * batch / metrics[f"{name} latency_ms_b{batch}_p50"] for name in ("int8", "eager"))
        name = title if len(goals) == 1 else f"{title}_b{batch}"
        rows.append(
            Row(
                name,
                round(value),
                "images/s",
                round(baseline),
                round(value / baseline, 2),
                f"at least {goal}x",
                REPEATS,
            )
        )
    points = 100 * (metrics["eager accuracy"] - metrics["int8 accuracy"])
    return [*rows, Row(lost, round(points, 2), "points", None, None, "at most 0.5", REPEATS)]
