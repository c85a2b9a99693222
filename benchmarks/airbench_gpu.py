"""CIFAR-10 to 94% on one GPU: configs/experiment/airbench.yaml against the published recipe (Jordan, 2024) on the same card and files.

Needs a GPU, CIFAR10=FOLDER, and AIRBENCH=PATH of the published airbench94.py, which prints its accuracy and time.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from cifar10 import cifar10_folder
from timing import Row, Skip, environment, project, time_once

SEEDS = range(5)


def measure() -> list[Row]:
    if not torch.cuda.is_available():
        raise Skip("expected a GPU")
    published = Path(os.environ.get("AIRBENCH", "no-such-file"))
    if not published.is_file():
        raise Skip("expected the published recipe; set AIRBENCH=PATH of airbench94.py")
    accuracies, seconds = [], []
    with project() as folder:
        time_once(["leyden", "prepare", f"--data={cifar10_folder()}", "--val_fraction=0.02"], folder)
        configs = [f"-c=configs/{name}.yaml" for name in ("train", "trainer/gpu", "trainer/compile", "experiment/airbench")]
        for seed in SEEDS:
            time_once(["leyden", "fit", *configs, f"--seed_everything={seed}"], folder)
            time_once(["leyden", "evaluate"], folder)
            accuracies.append(json.loads((folder / "artifacts/evaluate/metrics.json").read_text())["accuracy"])
            seconds.append(json.loads((folder / "artifacts/train/metrics.json").read_text())["seconds"])
    printed = subprocess.run([sys.executable, str(published)], env=environment(), capture_output=True, text=True, check=True).stdout
    theirs = [float(value) for value in re.findall(r"(\d+\.\d+)\s*\|?\s*$", printed, flags=re.MULTILINE)]
    time, usual = statistics.median(seconds), statistics.median(theirs)
    return [
        Row("airbench_gpu", round(time, 2), "s", round(usual, 2), round(time / usual, 3), "at most 1.1x", len(SEEDS)),
        Row("airbench_gpu_accuracy", round(statistics.mean(accuracies), 4), "mean share", None, None, "at least 0.94", len(SEEDS)),
    ]
