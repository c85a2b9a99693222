"""Images inside the page: small, and in the page's own text."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from leyden.data.packed import SPLITS, read_paths, read_report, read_split

MAX_SIDE_PX = 192  # twice the size at which the page shows most of them
MAX_PNG_BYTES = 4_000  # photographs go as JPEG beyond this
PIXELATED_SIDE_PX = 64  # smaller images are enlarged in square pixels, not blurred


class Picture(NamedTuple):
    """An image as a `data:` URI."""

    uri: str
    width: int
    height: int

    @property
    def is_tiny(self) -> bool:
        return max(self.width, self.height) < PIXELATED_SIDE_PX


def picture_of_array(pixels: np.ndarray, max_side_px: int = MAX_SIDE_PX) -> Picture:
    """Encode an image uint8 (H, W, C)."""
    return encode(
        Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)), max_side_px
    )


def picture_of_file(path: Path, max_side_px: int = MAX_SIDE_PX) -> Picture:
    with Image.open(path) as image:
        return encode(image, max_side_px)


def pictures_of_rows(
    prepare: Path, split: str, rows: Sequence[int], max_side_px: int = MAX_SIDE_PX
) -> list[Picture | None]:
    """Encode packed images by their rows in a split; other examples have no picture."""
    report = read_report(prepare)
    if "image_size" not in report["input"] or (split == "train" and "shards" in report):
        return [None] * len(rows)
    images = read_split(prepare, split).images
    return [picture_of_array(images[row], max_side_px) for row in rows]


def pictures_of_paths(prepare: Path, paths: set[str], max_side_px: int = MAX_SIDE_PX) -> dict[str, Picture]:
    """Encode packed images by the files that they came from."""
    found: dict[str, Picture] = {}
    for split in SPLITS:
        rows = {row: path for row, path in enumerate(read_paths(prepare, split)) if path in paths}
        pictures = zip(rows.values(), pictures_of_rows(prepare, split, list(rows), max_side_px), strict=True)
        found |= {path: picture for path, picture in pictures if picture}
    return found


def encode(image: Image.Image, max_side_px: int) -> Picture:
    """Shrink an image to a longest side, and write it as PNG, or as JPEG where that is needed to be small."""
    image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    if max(image.size) > max_side_px:
        image = image.copy()
        image.thumbnail((max_side_px, max_side_px))
    kind, content = "png", saved(image, "PNG", optimize=True)
    if len(content) > MAX_PNG_BYTES:
        kind, content = min(("png", content), ("jpeg", saved(image, "JPEG", quality=85)), key=lambda pair: len(pair[1]))
    return Picture(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", *image.size)


def saved(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
