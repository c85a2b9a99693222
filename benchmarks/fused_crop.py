"""Images per second of the fused crop on the CPU, against its plain-torch reference.

50,000 images of CIFAR's size; batches of 256 random rows, padding 4, half of them mirrored; all of torch's threads.
The two alternate.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from leyden.ops.crop import CropArgs, compute_reference, crop_flip_normalize
from timing import Row

NUM_IMAGES, BATCH_SIZE, SIDE, PADDING = 50_000, 256, 32, 4
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
REPEATS = 100


def measure() -> list[Row]:
    images = torch.randint(0, 256, (NUM_IMAGES, SIDE, SIDE, 3), dtype=torch.uint8)
    return [measure_dtype(images, dtype) for dtype in (torch.float32, torch.bfloat16)]


def measure_dtype(images: Tensor, dtype: torch.dtype) -> Row:
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(1 + REPEATS):
        for times, compute in zip(seconds, (compute_fused, compute_reference), strict=True):
            elapsed = time_batch(compute, draw_crops(images, dtype))
            if repeat:  # the first one compiles
                times.append(elapsed)
    value, baseline = (BATCH_SIZE / statistics.median(times) for times in seconds)
    name = f"fused_crop_{str(dtype).removeprefix('torch.')}"
    return Row(
        name,
        round(value),
        "images/s",
        round(baseline),
        round(value / baseline, 1),
        "at least 100,000 images/s",
        REPEATS,
    )


def compute_fused(crops: CropArgs) -> Tensor:
    return crop_flip_normalize(*crops)


def time_batch(compute: Callable[[CropArgs], Tensor], crops: CropArgs) -> float:
    started = time.perf_counter()
    compute(crops)
    return time.perf_counter() - started


def draw_crops(images: Tensor, dtype: torch.dtype) -> CropArgs:
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    top, left = torch.randint(0, 2 * PADDING + 1, (2, BATCH_SIZE))
    return CropArgs(
        images,
        rows=torch.randint(0, len(images), (BATCH_SIZE,)),
        top=top,
        left=left,
        flip=torch.rand(BATCH_SIZE) < 0.5,
        hole=torch.zeros(BATCH_SIZE, 4, dtype=torch.int64),
        scale=1 / (255 * std),
        shift=-mean / std,
        size=(SIDE, SIDE),
        padding=(PADDING, PADDING),
        dtype=dtype,
    )
