"""Floating-point operations that early exits save at equal accuracy, on the sample data.

For each seed: train configs/experiment/early_exit.yaml; raise its threshold until every training and validation image
gets the prediction of the whole network; count the operations of both on the test split. The whole network computes
no early head. The lowest threshold with equal predictions, 0.5 to 0.6, saves more (0.41x) and lost 1 of the five test
splits' 1,702 images: too rare to show on 290 validation images.
"""

import statistics
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import leyden
from leyden.data.packed import read_split
from leyden.models import EarlyExitNet
from timing import Row, project, time_once

SEEDS = range(5)
WHOLE = 1.0  # a threshold that no early head reaches


def measure() -> list[Row]:
    results = []
    with project() as folder:
        time_once(["leyden", "sample"], folder)
        for seed in SEEDS:
            time_once(["leyden", "prepare", "-c", "configs/prepare.yaml", f"--seed={seed}"], folder)
            configs = ["-c", "configs/train.yaml", "-c", "configs/experiment/early_exit.yaml"]
            time_once(["leyden", "fit", *configs, f"--seed_everything={seed}"], folder)
            results.append(early_exit_flops(folder / "artifacts"))
    thresholds, early, whole, accuracy, whole_accuracy, fractions = (
        list(column) for column in zip(*results, strict=True)
    )
    print(f"thresholds {thresholds}, fractions that exited at each head {fractions}")
    flops, usual, correct, whole_correct = (
        statistics.mean(column) for column in (early, whole, accuracy, whole_accuracy)
    )
    return [
        Row(
            "early_exit_flops",
            round(flops / 1e6, 3),
            "MFLOP/image",
            round(usual / 1e6, 3),
            round(flops / usual, 3),
            "below 0.7x",
            len(results),
        ),
        Row(
            "early_exit_accuracy",
            round(correct, 5),
            "mean share",
            round(whole_correct, 5),
            round(correct / whole_correct, 4),
            "1x or more",
            len(results),
        ),
    ]


def early_exit_flops(artifacts: Path) -> tuple[float, float, float, float, float, list[float]]:
    """Return the selected threshold; on test, FLOPs per image with and without it, both accuracies, exit fractions."""
    model = leyden.load(artifacts / "train/model.ckpt")
    network = model.network
    assert isinstance(network, EarlyExitNet)
    splits = [read_split(artifacts / "prepare", name) for name in ("train", "val", "test")]
    *seen, images = (model.preprocess(torch.tensor(split.images).permute(0, 3, 1, 2)) for split in splits)
    labels = torch.from_numpy(splits[-1].targets)
    threshold = select_threshold(network, torch.cat(seen))
    whole_flops, expected = run(network, WHOLE, images)
    flops, predictions = run(network, threshold, images)
    accuracy, whole_accuracy = (float((each == labels).float().mean()) for each in (predictions, expected))
    with torch.inference_mode():
        fractions = [round(fraction, 3) for fraction in network.exit_fractions(images).tolist()]
    return threshold, flops, whole_flops, accuracy, whole_accuracy, fractions


def select_threshold(network: EarlyExitNet, images: Tensor) -> float:
    """Raise the threshold in steps of 0.05 until each image (N, C, H, W) gets the whole network's prediction."""
    threshold = network.threshold
    expected = run(network, WHOLE, images)[1]
    while threshold < WHOLE and not torch.equal(run(network, threshold, images)[1], expected):
        threshold += 0.05
    return threshold


@torch.inference_mode()
def run(network: EarlyExitNet, threshold: float, images: Tensor) -> tuple[float, Tensor]:
    """Predict preprocessed images (N, C, H, W); return the executed FLOPs per image, and the predictions (N,)."""
    network.threshold = threshold
    with FlopCounterMode(display=False) as counter:
        logits = network(images)
    return counter.get_total_flops() / len(images), logits.argmax(1)
