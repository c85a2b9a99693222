"""CIFAR-10 to 90% on a CPU: cifar10_fast.yaml, 3 seeds, from JPEG files to test accuracy by the command line.

The baseline is train_resnet18's: float32, NCHW, ImageFolder. Its time is extrapolated from measured images per second
to the same number of epochs (it needs more).
"""

import json
import statistics

import torch

from cifar10 import cifar10_folder
from input_small import torchvision_batches
from timing import Row, project, time_once
from train_resnet18 import BATCH_SIZE, best_workers, make_step, trained_rate

SEEDS = range(3)


def measure() -> list[Row]:
    cifar10 = cifar10_folder()
    accuracies, seconds = [], []
    with project() as folder:
        time_once(["leyden", "prepare", f"--data={cifar10}", "--val_fraction=0.02"], folder)
        for seed in SEEDS:
            configs = ["-c", "configs/train.yaml", "-c", "configs/experiment/cifar10_fast.yaml"]
            time_once(["leyden", "fit", *configs, f"--seed_everything={seed}"], folder)
            time_once(["leyden", "evaluate", "-c", "configs/evaluate.yaml"], folder)
            accuracies.append(json.loads((folder / "artifacts/evaluate/metrics.json").read_text())["accuracy"])
            metrics = json.loads((folder / "artifacts/train/metrics.json").read_text())
            seconds.append(metrics["seconds"])
            print(f"seed {seed}: test accuracy {accuracies[-1]:.4f} after {seconds[-1]:.0f} s of training", flush=True)
        epochs = len((folder / "artifacts/train/curves.csv").read_text().splitlines()) - 1
        images = sum(json.loads((folder / "artifacts/prepare/report.json").read_text())["counts"]["train"].values())
    step = make_step(False, torch.contiguous_format)
    usual = epochs * images / trained_rate(step, torchvision_batches(cifar10, best_workers(cifar10), BATCH_SIZE))
    fastest, accuracy = min(seconds), statistics.mean(accuracies)
    return [
        Row("cifar10_fast", round(accuracy, 4), "mean share", None, None, "at least 0.90", len(SEEDS)),
        Row("cifar10_fast_lowest", round(min(accuracies), 4), "share", None, None, "", len(SEEDS)),
        Row("cifar10_fast_highest", round(max(accuracies), 4), "share", None, None, "", len(SEEDS)),
        Row(
            "cifar10_fast_seconds",
            round(fastest),
            "s, the fastest",
            round(usual),
            round(fastest / usual, 3),
            "at most 600 s; at most 0.1x",
            len(SEEDS),
        ),
    ]
