"""Images embedded in the page: small, as `data:` URIs."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from leyden.data.packed import SPLITS, read_paths, read_report, read_split

MAX_SIDE_PX = 192  # twice the size at which the page shows most of them
MAX_PNG_BYTES = 4_000  # a larger PNG is replaced by a JPEG if that is smaller


class Picture(NamedTuple):
    """An image as a `data:` URI, with its size in pixels."""

    uri: str
    width: int
    height: int


def encode_file(path: Path, max_side_px: int = MAX_SIDE_PX) -> Picture:
    with Image.open(path) as image:
        return encode(image, max_side_px)


def encode_rows(prepare: Path, split: str, rows: Sequence[int], max_side_px: int = MAX_SIDE_PX) -> list[Picture | None]:
    """Encode the packed images at some rows of a split; None for sequences and for examples in shards."""
    report = read_report(prepare)
    if "image_size" not in report["input"] or (split == "train" and "shards" in report):
        return [None] * len(rows)
    images = read_split(prepare, split).images
    pixels = [np.ascontiguousarray(images[row]) for row in rows]
    # Pillow's grey images have no axis of channels.
    return [encode(Image.fromarray(each[..., 0] if each.shape[2] == 1 else each), max_side_px) for each in pixels]


def encode_paths(prepare: Path, paths: set[str], max_side_px: int = MAX_SIDE_PX) -> dict[str, Picture]:
    """Encode the packed images of some files, of any split."""
    pictures: dict[str, Picture] = {}
    for split in SPLITS:
        rows = {row: path for row, path in enumerate(read_paths(prepare, split)) if path in paths}
        encoded = zip(rows.values(), encode_rows(prepare, split, list(rows), max_side_px), strict=True)
        pictures |= {path: picture for path, picture in encoded if picture}
    return pictures


def encode(image: Image.Image, max_side_px: int) -> Picture:
    """Shrink an image to fit a longest side, and encode it as PNG, or as JPEG where that is smaller."""
    image = image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")
    image.thumbnail((max_side_px, max_side_px))
    kind, content = "png", to_bytes(image, "PNG", optimize=True)
    if len(content) > MAX_PNG_BYTES:
        jpeg = to_bytes(image, "JPEG", quality=85)
        kind, content = ("jpeg", jpeg) if len(jpeg) < len(content) else (kind, content)
    return Picture(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", *image.size)


def to_bytes(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
