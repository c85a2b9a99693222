"""Ordinal classification: how many digits an image shows, from none to four."""

from pathlib import Path

import numpy as np

from leyden.files.tables import write_table
from leyden.stages.sample.digits import SIDE, Digits, write_png

GRADES = ("none", "one", "two", "three", "four")
IMAGE_SIDE = 20
MAX_SHIFT = 5  # from a corner to the middle, where digits overlap
NOISE = 96  # exclusive upper bound of the ground


def write(digits: Digits, folder: Path) -> str:
    """Write images of 20x20, as many of each grade, and the grades in their order.

    Each handwritten digit is in one image at most: a test image shows none that a model was trained on.
    """
    rng = np.random.default_rng(0)
    remaining = iter(rng.permutation(len(digits.labels)))
    num_images = len(digits.labels) // sum(range(len(GRADES))) * len(GRADES)
    rows = []
    for index, count in enumerate(rng.permutation(num_images) % len(GRADES)):
        pixels = rng.integers(0, NOISE, (IMAGE_SIDE, IMAGE_SIDE), dtype=np.uint8)
        for corner in rng.permutation(4)[:count]:
            shift = rng.integers(0, MAX_SHIFT + 1, 2)
            top, left = np.where((corner // 2, corner % 2), IMAGE_SIDE - SIDE - shift, shift)
            place = pixels[top : top + SIDE, left : left + SIDE]
            np.maximum(place, digits.images[next(remaining)], out=place)
        path = f"images/{index:04d}.png"
        write_png(pixels, folder / path)
        rows.append({"path": path, "grade": GRADES[count]})
    write_table(folder / "manifest.csv", rows, ("path", "grade"))
    write_table(folder / "grades.csv", [{"grade": grade} for grade in GRADES], ("grade",))
    return f"{num_images:,} images in {len(GRADES)} ordered grades"
