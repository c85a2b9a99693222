"""Contact sheets: a first look at the images of each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from leyden.data.packed import SPLITS, Split, read_split
from leyden.stages.prepare.pixel_cache import as_image

PER_SIDE = 4
MAX_CELL_PX = 64
MIN_CELL_PX = 32  # smaller images are enlarged by an integer factor, so that their pixels stay sharp
GAP_PX = 2


def write_contact_sheets(packed: Path, folder: Path, num_classes: int, splits: Sequence[str] = SPLITS) -> None:
    """Write `<class index>.png` with up to 16 images of each class, those of the first split first."""
    folder.mkdir()
    images_by_class: list[list[np.ndarray]] = [[] for _ in range(num_classes)]
    for name in splits:
        split = read_split(packed, name)
        for class_index, images in enumerate(images_by_class):
            images += first_images(split, class_index, PER_SIDE**2 - len(images))
    for class_index, images in enumerate(images_by_class):
        draw_sheet(images).save(folder / f"{class_index}.png", optimize=True)


def first_images(split: Split, label: int, count: int) -> list[np.ndarray]:
    return list(split.images[np.flatnonzero(split.labels == label)[:count]])


def draw_sheet(images: list[np.ndarray]) -> Image.Image:
    """Arrange images uint8 (H, W, C) in a square on a grey background."""
    height, width, _ = images[0].shape
    scale = min(1.0, MAX_CELL_PX / max(height, width))
    factor = max(1, MIN_CELL_PX // max(height, width))
    cell = max(1, round(width * scale)) * factor, max(1, round(height * scale)) * factor
    columns = min(PER_SIDE, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (cell[0] + GAP_PX) - GAP_PX, rows * (cell[1] + GAP_PX) - GAP_PX), "grey")
    resampling = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BILINEAR
    for index, pixels in enumerate(images):
        image = as_image(pixels).resize(cell, resampling)
        sheet.paste(image, (index % columns * (cell[0] + GAP_PX), index // columns * (cell[1] + GAP_PX)))
    return sheet
