"""Large images to normalised batches: 2,000 JPEGs of 500x375, batches of 64, random resized crops to 224x224, flips.

Leyden reads pixels stored once at 256x256 (`crop_margin` 1.143), or the JPEG files' bytes (`storage: jpeg`); its
batches are bfloat16, as training on such a CPU uses them. The baseline is torchvision's ImageFolder with v2
transforms and a DataLoader, with the best of 0, 1, 2 and 4 workers. The pictures are noise with the spectrum of
photographs (amplitudes fall as 1 / frequency), at quality 90: 118 kB each.
"""

import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from input_small import rate
from timing import Row, normalized_batches, time_once

NUM_IMAGES, WIDTH, HEIGHT, NUM_CLASSES = 2000, 500, 375, 4
SIDE, BATCH_SIZE = 224, 64
REPEATS = 5
NUM_BASELINE_BATCHES = 15
STORAGES = {"pixels": "at least 15x", "jpeg": "at least 1.5x"}


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        write_pictures(data)
        for storage in STORAGES:
            sizes = [f"--image_size=[{SIDE},{SIDE}]", "--crop_margin=1.143", f"--storage={storage}"]
            time_once(
                ["leyden", "prepare", "--data", str(data), "--out", str(Path(name) / storage), *sizes], Path(name)
            )
        workers = max((0, 1, 2, 4), key=lambda count: rate(torchvision_batches(data, count), NUM_BASELINE_BATCHES))
        leyden_rates: dict[str, list[float]] = {storage: [] for storage in STORAGES}
        baseline_rates: list[float] = []
        for _ in range(REPEATS):
            for storage, rates in leyden_rates.items():
                rates.append(rate(leyden_batches(Path(name) / storage)))
            baseline_rates.append(rate(torchvision_batches(data, workers), NUM_BASELINE_BATCHES))
    return [row_of(storage, leyden_rates[storage], baseline_rates, goal) for storage, goal in STORAGES.items()]


def row_of(storage: str, rates: list[float], baseline_rates: list[float], goal: str) -> Row:
    value, baseline = statistics.median(rates), statistics.median(baseline_rates)
    return Row(
        f"input_large_{storage}", round(value), "images/s", round(baseline), round(value / baseline, 2), goal, REPEATS
    )


def write_pictures(folder: Path) -> None:
    """Write JPEGs in class folders."""
    generator = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        path = folder / f"class {number % NUM_CLASSES}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_picture(generator).save(path, quality=90)


def draw_picture(generator: np.random.Generator) -> Image.Image:
    brightness = 50 * draw_plane(generator)
    pixels = np.stack([brightness + 15 * draw_plane(generator) for _ in range(3)], axis=2) + generator.uniform(90, 160)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw_plane(generator: np.random.Generator) -> np.ndarray:
    """Draw noise (H, W) whose amplitudes fall as 1 / frequency, with standard deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    frequency[0, 0] = np.inf
    spectrum = (
        generator.standard_normal(frequency.shape) + 1j * generator.standard_normal(frequency.shape)
    ) / frequency
    plane = np.fft.irfft2(spectrum, (HEIGHT, WIDTH))
    return plane / plane.std()


def leyden_batches(packed: Path) -> Iterable[Any]:
    """Return an epoch of Leyden's normalised training batches."""
    from leyden import ImageData
    from leyden.data.augment import Augment

    return normalized_batches(
        ImageData(str(packed), BATCH_SIZE, Augment(resized_crop=(0.08, 1.0), horizontal_flip=True))
    )


def torchvision_batches(folder: Path, workers: int) -> Iterable[Any]:
    """Return normalised training batches as in torchvision's examples."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transforms = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.49, 0.48, 0.45], [0.25, 0.24, 0.26]),
        ]
    )
    return torch.utils.data.DataLoader(
        ImageFolder(str(folder), transforms), BATCH_SIZE, shuffle=True, num_workers=workers
    )
