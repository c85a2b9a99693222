"""Small images to normalised batches: CIFAR-10, batches of 256, crop + flip + normalise.

Ours gathers, augments and normalises whole batches of the packed pixels. The usual way is torchvision's ImageFolder with v2
transforms behind a DataLoader, with the best of 0, 1, 2 and 4 workers.
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
USUAL_BATCHES = 12


def measure() -> list[Row]:
    folder = cifar10_folder()
    with tempfile.TemporaryDirectory() as name:
        packed = Path(name) / "packed"
        time_once(["leyden", "prepare", "--data", str(folder), "--out", str(packed)], Path(name))
        workers = max((0, 1, 2, 4), key=lambda count: rate(usual_batches(folder, count), USUAL_BATCHES))
        ours: list[float] = []
        usual: list[float] = []
        for _ in range(REPEATS):
            ours.append(rate(our_batches(packed)))
            usual.append(rate(usual_batches(folder, workers), USUAL_BATCHES))
    value, baseline = statistics.median(ours), statistics.median(usual)
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


def our_batches(packed: Path, batch_size: int = BATCH_SIZE) -> Iterable[Any]:
    """Give an epoch of normalised training batches of ours."""
    from leyden import ImageData
    from leyden.data.augment import Augment

    return normalized_batches(
        ImageData(str(packed), batch_size, Augment(crop_padding_fraction=0.125, horizontal_flip=True))
    )


def usual_batches(folder: Path, workers: int, batch_size: int = BATCH_SIZE) -> Iterable[Any]:
    """Give normalised training batches as torchvision's examples make them."""
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
    """Give images per second, the first batch (workers starting) not counted."""
    waiting = iter(batches)
    next(waiting)
    started, count = time.perf_counter(), 0
    for images, _ in islice(waiting, limit):
        count += len(images)
    return count / (time.perf_counter() - started)
