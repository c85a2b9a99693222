"""Read image files as arrays: the one reader for preparation and prediction, so that they cannot differ."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # no other decoder runs, whatever a file's name or content
GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N", "I"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
ORIENTATION = 0x0112  # EXIF tag; 1 is upright
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
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UnreadableImageError(reason or type(error).__name__) from error


class Decoded(NamedTuple):
    """An upright image in mode L or RGB, and the mode that its file has."""

    image: Image.Image
    mode: str


def walk_files(folder: Path, *, above: tuple[tuple[int, int], ...] = ()) -> Iterator[os.DirEntry[str]]:
    """Give the files under a folder in a stable order; hidden ones are left out, and so is a link back to a folder above.

    Raises:
        OSError: if a folder cannot be read.
    """
    status = os.stat(folder)  # noqa: PTH116 - one style for what surrounds os.scandir
    here = status.st_dev, status.st_ino
    if here in above:
        return
    with os.scandir(folder) as entries:  # its entries know their kind: no further call per file
        visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    yield from (entry for entry in visible if entry.is_file() or (entry.is_symlink() and not entry.is_dir()))
    for entry in visible:
        if entry.is_dir():
            yield from walk_files(Path(entry.path), above=(*above, here))


def find_files(folder: Path) -> list[Path]:
    """List the files under a folder in a stable order; hidden files and folders are left out.

    Raises:
        OSError: if a folder cannot be read.
    """
    return [Path(entry.path) for entry in walk_files(folder)]


def decode(file: Path | IO[bytes]) -> Decoded:
    """Decode an image file and turn it upright; of an animation the first frame counts.

    Raises:
        UnreadableImageError: if the file is unreadable, truncated, not an image, or of a mode that has no 8-bit form.
    """
    with readable(), Image.open(file, formats=FORMATS) as opened:
        opened.load()
        mode = opened.mode
        if mode not in GREY_MODES | COLOUR_MODES:
            raise UnreadableImageError(f"unsupported mode {mode}")
        upright = opened.getexif().get(ORIENTATION, 1) == 1
        image: Image.Image = opened if upright else ImageOps.exif_transpose(opened)
        if mode.startswith("I"):
            image = upper_eight_bits(image)
        elif mode in ("P", "PA", "RGBA", "LA"):
            image = on_white(image)
        return Decoded(image.convert("L" if mode in GREY_MODES else "RGB"), mode)


def is_plain_jpeg(file: IO[bytes]) -> bool:
    """Tell, without decoding it, whether a file is a grey or RGB JPEG that lies upright, which every decoder shows alike.

    Raises:
        UnreadableImageError: if it is not an image.
    """
    with readable(), Image.open(file, formats=FORMATS) as opened:
        return opened.format == "JPEG" and opened.mode in ("L", "RGB") and opened.getexif().get(ORIENTATION, 1) == 1


def fit(image: Image.Image, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Bring an image to a number of channels and a size.

    Args:
        image: Image of mode L or RGB.
        channels: 1 (grey) or 3 (RGB).
        size: Height and width in pixels; other sizes are resized (bilinear, antialiased; the aspect ratio may change).

    Returns:
        uint8 array (H, W, C).
    """
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    height, width = size
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels)


def read_image(file: Path | IO[bytes], channels: int, size: tuple[int, int]) -> np.ndarray:
    """Decode an image, turn it upright, and bring it to a number of channels and a size.

    Args:
        file: An image file, or its content.
        channels: 1 (grey) or 3 (RGB).
        size: Height and width in pixels.

    Returns:
        uint8 array (H, W, C).

    Raises:
        UnreadableImageError: if the file is unreadable, truncated, or not an image.
    """
    return fit(decode(file).image, channels, size)


def upper_eight_bits(image: Image.Image) -> Image.Image:
    """Reduce 16 bits to 8, as a screen shows them.

    Raises:
        UnreadableImageError: if a value needs more than 16 bits: nothing says what its white is.
    """
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImageError(f"unsupported mode {image.mode}: values from {values.min()} to {values.max()}")
    return Image.fromarray((values.astype(np.uint32) >> 8).astype(np.uint8))


def on_white(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white, as a page shows it: what lies under alpha 0 is arbitrary."""
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return ground
