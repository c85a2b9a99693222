"""Small images to normalised batches: CIFAR-10, batches of 256, crops and flips.

Leyden gathers, augments and normalises whole batches of packed pixels. The baseline is torchvision's ImageFolder with
v2 transforms and a DataLoader, with the best of 0, 1, 2 and 4 workers.
"""

import statistics
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from cifar10 import cifar10_folder
from timing import Row, normalized_batches, time_once

BATCH_SIZE = 256
REPEATS = 5
NUM_BASELINE_BATCHES = 12


def measure() -> list[Row]:
    folder = cifar10_folder()
    with tempfile.TemporaryDirectory() as name:
        packed = Path(name) / "packed"
        time_once(["leyden", "prepare", "--data", str(folder), "--out", str(packed)], Path(name))
        workers = max((0, 1, 2, 4), key=lambda count: rate(torchvision_batches(folder, count), NUM_BASELINE_BATCHES))
        leyden_rates: list[float] = []
        baseline_rates: list[float] = []
        for _ in range(REPEATS):
            leyden_rates.append(rate(leyden_batches(packed)))
            baseline_rates.append(rate(torchvision_batches(folder, workers), NUM_BASELINE_BATCHES))
    value, baseline = statistics.median(leyden_rates), statistics.median(baseline_rates)
    return [
        Row(
            "input_small",
            round(value),
            "images/s",
            round(baseline),
            round(value / baseline, 1),
            "at least 40x",
            REPEATS,
        ),
        Row("input_small_rate", round(value), "images/s", None, None, "at least 100,000 images/s", REPEATS),
    ]


def leyden_batches(packed: Path, batch_size: int = BATCH_SIZE) -> Iterable[Any]:
    """Return an epoch of Leyden's normalised training batches."""
    from leyden import ImageData
    from leyden.data.augment import Augment

    return normalized_batches(
        ImageData(str(packed), batch_size, Augment(crop_padding_fraction=0.125, horizontal_flip=True))
    )


def torchvision_batches(folder: Path, workers: int, batch_size: int = BATCH_SIZE) -> Iterable[Any]:
    """Return normalised training batches as in torchvision's examples."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transforms = v2.Compose(
        [
            v2.RandomCrop(32, padding=4),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.49, 0.48, 0.45], [0.25, 0.24, 0.26]),
        ]
    )
    return torch.utils.data.DataLoader(
        ImageFolder(str(folder / "train"), transforms), batch_size, shuffle=True, num_workers=workers
    )


def rate(batches: Iterable[Any], limit: int | None = None) -> float:
    """Return images per second, without the first batch, for which workers start."""
    iterator = iter(batches)
    next(iterator)
    started, count = time.perf_counter(), 0
    for images, _ in islice(iterator, limit):
        count += len(images)
    return count / (time.perf_counter() - started)
