"""Regression: the angle by which a digit is turned."""

from pathlib import Path

import numpy as np

from leyden.files.tables import write_table
from leyden.stages.sample.bilinear import ONE, bilinear
from leyden.stages.sample.digits import SIDE, Digits, write_png

SHOWN = (2, 3, 4, 5, 7)  # what is up is plain to see
IMAGE_SIDE = 16
ENLARGEMENT = 3, 2  # 3/2: a turned digit stays within the image
MAX_ANGLE = 600  # tenths of a degree
NOISE = 64  # exclusive upper bound of the ground, so that two images of like digits and angles are no near duplicates
UNIT = 1 << 16  # a sine is an integer in this unit: the last bit of the machine's own sine does not matter


def write(digits: Digits, folder: Path) -> str:
    """Write images of 16x16, and their angles in degrees, anticlockwise, uniform in [-60, 60]."""
    rng = np.random.default_rng(0)
    images = digits.images[np.isin(digits.labels, SHOWN)]
    angles = rng.integers(-MAX_ANGLE, MAX_ANGLE + 1, len(images))
    rows = []
    for index, (image, angle) in enumerate(zip(images, angles.tolist(), strict=True)):
        path = f"images/{index:04d}.png"
        ground = rng.integers(0, NOISE, (IMAGE_SIDE, IMAGE_SIDE), dtype=np.uint8)
        write_png(np.maximum(ground, turned(image, angle)), folder / path)
        rows.append({"path": path, "target_angle_deg": f"{angle / 10:.1f}"})
    write_table(folder / "manifest.csv", rows, ("path", "target_angle_deg"))
    return f"{len(rows):,} images with an angle in degrees"


def turned(image: np.ndarray, angle: int) -> np.ndarray:
    """Enlarge an image uint8 (8, 8) to (16, 16), and turn it anticlockwise by `angle` tenths of a degree."""
    radians = np.deg2rad(angle / 10)
    sine, cosine = (int(np.rint(value * UNIT)) for value in (np.sin(radians), np.cos(radians)))
    half_pixels = 2 * np.arange(IMAGE_SIDE) - (IMAGE_SIDE - 1)  # from the middle
    down, right = half_pixels[:, None], half_pixels[None, :]
    larger, smaller = ENLARGEMENT
    divisor, middle = 2 * larger * (UNIT // ONE), (SIDE - 1) * ONE // 2
    rows = (cosine * down + sine * right) * smaller // divisor + middle
    columns = (cosine * right - sine * down) * smaller // divisor + middle
    return bilinear(image, rows, columns)
