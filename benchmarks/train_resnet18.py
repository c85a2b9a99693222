"""Training torchvision's ResNet-18 with a 3x3 stem on CIFAR-10: images per second of whole steps.

Both sides use crops, flips and batches of 128. Leyden's defaults are packed pixels, bf16 where it is native, and
channels_last. The baseline is float32, NCHW, ImageFolder and a DataLoader with the best of 0, 1, 2 and 4 workers.
Both run alternately in the same hand-written loop.

The limit: on 2 cores with AMX, 84% of our step are convolutions. oneDNN computes their backward pass in bfloat16 at
138 billion multiply-adds per second (forward at 254; the baseline's float32 at 88 overall), so that a step of nothing
else would be 2.7x as fast as the baseline's. torch.compile gains 9%.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from cifar10 import cifar10_folder
from input_small import leyden_batches, rate, torchvision_batches
from timing import Row, time_once

BATCH_SIZE = 128
STEPS = 8
REPEATS = 3


def measure() -> list[Row]:
    from leyden.training.devices import computes_bf16_natively

    folder = cifar10_folder()
    bf16 = computes_bf16_natively("cpu")
    with tempfile.TemporaryDirectory() as name:
        packed = Path(name) / "packed"
        time_once(["leyden", "prepare", "--data", str(folder), "--out", str(packed)], Path(name))
        workers = best_workers(folder)
        step, usual_step = make_step(bf16, torch.channels_last), make_step(False, torch.contiguous_format)
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(REPEATS):
            rates[0].append(trained_rate(step, leyden_batches(packed, BATCH_SIZE)))
            rates[1].append(trained_rate(usual_step, torchvision_batches(folder, workers, BATCH_SIZE)))
    value, baseline = (statistics.median(each) for each in rates)
    return [
        Row(
            "train_resnet18",
            round(value, 1),
            "images/s",
            round(baseline, 1),
            round(value / baseline, 2),
            "at least 4x",
            REPEATS,
        )
    ]


def best_workers(folder: Path) -> int:
    return max((0, 1, 2, 4), key=lambda count: rate(torchvision_batches(folder, count, BATCH_SIZE), STEPS))


def make_step(bf16: bool, memory_format: torch.memory_format) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Return a function that trains one step on a batch of normalised images (B, 3, 32, 32) and labels (B,)."""
    from leyden.models import TorchvisionNet

    network = TorchvisionNet(3, 10, (32, 32), "resnet18").to(memory_format=memory_format)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            logits = network(images.contiguous(memory_format=memory_format))
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def trained_rate(step: Callable[..., None], batches: Iterable[Any]) -> float:
    """Return images per second, without the first step."""
    iterator: Iterator[Any] = iter(batches)
    step(*next(iterator))
    started, count = time.perf_counter(), 0
    for _ in range(STEPS):
        images, labels = next(iterator)
        step(images, labels)
        count += len(labels)
    return count / (time.perf_counter() - started)
