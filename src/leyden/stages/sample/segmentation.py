"""Segmentation: a digit's ink and a block on a textured ground."""

from pathlib import Path

import numpy as np

from leyden.files.tables import write_table
from leyden.stages.sample.bilinear import ONE, bilinear
from leyden.stages.sample.digits import SIDE, Digits, write_png

CLASSES = ("ground", "ink", "block")  # by their value in a mask
IGNORED = 255
NUM_IMAGES = 600
IMAGE_SIDE = 32
INK, GROUND = 144, 80  # amounts of ink of 255: at least, below; what lies between is the uncertain edge
NUM_PLACES = 50  # tried for a block, so that it touches no ink
BLOCK_SIDES = 5, 12


def write(digits: Digits, folder: Path) -> str:
    """Write images of 32x32, masks of the same names, and the names of the masks' values."""
    rng = np.random.default_rng(0)
    for index, digit in enumerate(rng.permutation(len(digits.images))[:NUM_IMAGES]):
        ink = placed(digits.images[digit], rng)
        block = place_block(ink, rng)
        mask = np.where(ink >= INK, 1, np.where(ink >= GROUND, IGNORED, 0)).astype(np.uint8)
        mask[block] = 2
        write_png(paint(ink, block, rng), folder / "images" / f"{index:04d}.png")
        write_png(mask, folder / "masks" / f"{index:04d}.png")
    names = [{"value": value, "name": name} for value, name in enumerate(CLASSES)]
    write_table(folder / "classes.csv", names, ("value", "name"))
    return f"{NUM_IMAGES:,} images and masks of {len(CLASSES)} classes"


def placed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image uint8 (8, 8) enlarged to twice to three times its size, at a random place of (32, 32)."""
    side = rng.integers(2 * SIDE, 3 * SIDE + 1)
    first = rng.integers(0, IMAGE_SIDE - side + 1, (2, 1))
    # The middle of pixel p of the enlarged image is that of (p + 1/2) * 8 / side - 1/2 of the image.
    rows, columns = (2 * (np.arange(IMAGE_SIDE) - first) + 1) * SIDE * ONE // (2 * side) - ONE // 2
    return bilinear(image, rows[:, None], columns[None, :])


def place_block(ink: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return the rows and columns of the first of some random rectangles that touches no ink; else empty ones."""
    sides = rng.integers(*BLOCK_SIDES, (NUM_PLACES, 2))
    for (height, width), (top, left) in zip(sides, rng.integers(1, IMAGE_SIDE - sides), strict=True):
        if not ink[top - 1 : top + height + 1, left - 1 : left + width + 1].any():
            return slice(top, top + height), slice(left, left + width)
    return slice(0), slice(0)


def paint(ink: np.ndarray, block: tuple[slice, slice], rng: np.random.Generator) -> np.ndarray:
    """Return the image uint8 (32, 32): ground of smooth noise and a gradient, ink and block of like brightness."""
    noise = rng.integers(0, 256, (IMAGE_SIDE + 2, IMAGE_SIDE + 2))
    smooth = np.lib.stride_tricks.sliding_window_view(noise, (3, 3)).sum((2, 3)) // 18 - 64  # standard deviation: 12
    slopes = rng.integers(-30, 31, 2)
    gradient = (slopes[0] * np.arange(IMAGE_SIDE)[:, None] + slopes[1] * np.arange(IMAGE_SIDE)) // IMAGE_SIDE
    ground = 64 + gradient
    shape = ink.astype(np.int64)
    ink_level, block_level = rng.integers(140, 231, 2)
    pixels = (ground * (255 - shape) + ink_level * shape) // 255
    pixels[block] = block_level
    return np.clip(pixels + smooth, 0, 255).astype(np.uint8)
