"""Contact sheets: a look at each class before anything is learned from it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from leyden.data.packed import SPLITS, Split, read_split

PER_SIDE = 4
MAX_CELL_PX = 64
MIN_CELL_PX = 32  # smaller images are enlarged by a whole factor, so that their pixels stay sharp
GAP_PX = 2


def write_contact_sheets(packed: Path, folder: Path, num_classes: int, names: Sequence[str] = SPLITS) -> None:
    """Write `<class index>.png` of up to 16 images of each class, those of the first split first."""
    folder.mkdir()
    taken: list[list[np.ndarray]] = [[] for _ in range(num_classes)]
    for name in names:
        split = read_split(packed, name)
        for index, images in enumerate(taken):
            images += first_images(split, index, PER_SIDE**2 - len(images))
    for index, images in enumerate(taken):
        draw_sheet(images).save(folder / f"{index}.png", optimize=True)


def first_images(split: Split, label: int, count: int) -> list[np.ndarray]:
    return list(split.images[np.flatnonzero(split.labels == label)[:count]])


def draw_sheet(images: list[np.ndarray]) -> Image.Image:
    """Lay images uint8 (H, W, C) out in a square, on grey."""
    height, width, _ = images[0].shape
    scale = min(1.0, MAX_CELL_PX / max(height, width))
    factor = max(1, MIN_CELL_PX // max(height, width))
    cell = max(1, round(width * scale)) * factor, max(1, round(height * scale)) * factor
    columns = min(PER_SIDE, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (cell[0] + GAP_PX) - GAP_PX, rows * (cell[1] + GAP_PX) - GAP_PX), "grey")
    for number, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        picture = picture.resize(cell, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BILINEAR)
        sheet.paste(picture, (number % columns * (cell[0] + GAP_PX), number // columns * (cell[1] + GAP_PX)))
    return sheet
