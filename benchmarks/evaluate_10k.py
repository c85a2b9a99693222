"""Seconds and peak memory of `leyden evaluate` on the 10,000 test images of CIFAR-10, start-up included.

The model is the default network after one epoch on 5,000 images. Without robustness; with it, `leyden evaluate` takes
512 images, however many there are. The baseline of the memory is a test split of 2,500 images.
"""

import shutil
import statistics
import tempfile
from pathlib import Path

from cifar10 import cifar10_folder
from memory import copy_part, peak_mb
from timing import REPO, Row, time_once

REPEATS = 1
PREPARE = ["prepare", "-c", str(REPO / "configs/prepare.yaml")]
FIT = ["fit", "-c", str(REPO / "configs/train.yaml"), "--trainer.max_epochs=1"]
EVALUATE = ["evaluate", "-c", str(REPO / "configs/evaluate.yaml")]
NO_ROBUSTNESS = "--robustness=[]"


def measure() -> list[Row]:
    cifar10 = cifar10_folder()
    with tempfile.TemporaryDirectory() as name:
        folders = {per_class: Path(name) / str(per_class) for per_class in (1000, 250)}
        for per_class, folder in folders.items():
            copy_part(cifar10 / "train", folder / "data/train", 500)
            copy_part(cifar10 / "test", folder / "data/test", per_class)
            time_once(["leyden", *PREPARE], folder)
        large, small = folders.values()
        time_once(["leyden", *FIT], large)
        (small / "artifacts/train").mkdir()
        shutil.copy(large / "artifacts/train/model.ckpt", small / "artifacts/train")
        seconds = [time_once(["leyden", *EVALUATE, NO_ROBUSTNESS], large) for _ in range(REPEATS)]
        with_robustness = [time_once(["leyden", *EVALUATE], large) for _ in range(REPEATS)]
        peaks = [[peak_mb([*EVALUATE, NO_ROBUSTNESS], folder) for folder in (large, small)] for _ in range(REPEATS)]
    memory, baseline = (statistics.median(each) for each in zip(*peaks, strict=True))
    ratio = round(memory / baseline, 3)
    return [
        Row("evaluate_10k", round(statistics.median(seconds), 1), "s", None, None, "at most 30 s", REPEATS),
        Row("evaluate_10k_robustness", round(statistics.median(with_robustness), 1), "s", None, None, "", REPEATS),
        Row(
            "evaluate_10k_memory", round(memory, 1), "MB", round(baseline, 1), ratio, "about 1x: 4x the images", REPEATS
        ),
    ]
