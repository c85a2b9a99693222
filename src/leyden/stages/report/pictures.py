"""Images inside the page: small, and in the page's own text."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

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
    return encode(Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)), max_side_px)


def picture_of_file(path: Path, max_side_px: int = MAX_SIDE_PX) -> Picture:
    with Image.open(path) as image:
        return encode(image, max_side_px)


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
