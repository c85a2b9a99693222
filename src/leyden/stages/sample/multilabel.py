"""Multi-label classification: 0 to 3 digits in the four quarters of an image."""

from pathlib import Path

import numpy as np

from leyden.files.tables import write_table
from leyden.stages.sample.digits import SIDE, Digits, write_png

MAX_DIGITS = 3
NOISE = 64  # exclusive upper bound of the ground, so that images without a digit differ from one another


def write(digits: Digits, folder: Path) -> str:
    """Write images of 16x16, as many of each number of digits, and their sets of digits such as `0;7`.

    Each handwritten digit is in one image at most: a test image shows none that a model was trained on.
    """
    rng = np.random.default_rng(0)
    remaining = iter(rng.permutation(len(digits.labels)))
    num_images = len(digits.labels) // sum(range(MAX_DIGITS + 1)) * (MAX_DIGITS + 1)
    rows = []
    for index, count in enumerate(rng.permutation(num_images) % (MAX_DIGITS + 1)):
        pixels = rng.integers(0, NOISE, (2 * SIDE, 2 * SIDE), dtype=np.uint8)
        quarters = pixels.reshape(2, SIDE, 2, SIDE).swapaxes(1, 2)  # a view
        shown = [next(remaining) for _ in range(count)]
        for quarter, digit in zip(rng.permutation(4), shown, strict=False):
            place = quarters[quarter // 2, quarter % 2]
            np.maximum(place, digits.images[digit], out=place)
        path = f"images/{index:04d}.png"
        write_png(pixels, folder / path)
        rows.append({"path": path, "labels": ";".join(sorted({str(digits.labels[digit]) for digit in shown}))})
    write_table(folder / "manifest.csv", rows, ("path", "labels"))
    return f"{num_images:,} images, each with any of {len(set(digits.labels.tolist()))} labels"
