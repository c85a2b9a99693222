"""Read image files as arrays: the one reader for preparation and prediction, so that they cannot differ."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I;16L", "I"})
ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap height and width
ImageFile.LOAD_TRUNCATED_IMAGES = False


class UnreadableImageError(Exception):
    """Why a file is no usable image, in a few words."""


@contextmanager
def readable() -> Iterator[None]:
    """Turn the many exceptions of decoders into one with a short reason."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UnreadableImageError(reason or type(error).__name__) from error


class Header(NamedTuple):
    """What an image file says of itself before it is decoded."""

    height: int
    width: int
    mode: str

    @property
    def channels(self) -> int:
        return 1 if self.mode in GREY_MODES else 3


def find_files(folder: Path) -> list[Path]:
    """List the files under a folder in a stable order; hidden files and folders are left out."""
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(files) if not name.startswith(".")]
    return found


def read_header(path: Path) -> Header:
    """Read size and mode, as they are once the EXIF orientation is applied.

    Raises:
        UnreadableImageError: if the file cannot be read as an image.
    """
    with readable(), Image.open(path) as image:
        width, height = image.size
        if image.getexif().get(ORIENTATION, 1) >= 5:
            width, height = height, width
        return Header(height, width, image.mode)


def read_image(file: Path | IO[bytes], channels: int, size: tuple[int, int]) -> np.ndarray:
    """Decode an image, turn it upright, and bring it to a number of channels and a size.

    Args:
        file: An image file, or its content; of an animation the first frame counts.
        channels: 1 (grey) or 3 (RGB).
        size: Height and width in pixels; other sizes are resized (bilinear, antialiased; the aspect ratio may change).

    Returns:
        uint8 array (H, W, C).

    Raises:
        UnreadableImageError: if the file is unreadable, truncated, or not an image.
    """
    with readable(), Image.open(file) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
        elif image.mode in ("P", "PA", "RGBA", "LA"):
            image = on_white(image)
        image = image.convert("L" if channels == 1 else "RGB")
        height, width = size
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(height, width, channels)


def on_white(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white, as a page shows it: what lies under alpha 0 is arbitrary."""
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return ground
