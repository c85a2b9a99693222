"""Reading of image files as arrays, shared by preparation and prediction so that they cannot differ."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, features

SUFFIXES_OF = {
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}
if features.check("avif"):
    SUFFIXES_OF["AVIF"] = (".avif",)
try:
    import pillow_heif
except ImportError:
    pass
else:
    pillow_heif.register_heif_opener()
    SUFFIXES_OF["HEIF"] = (".heic", ".heif")
SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
FORMATS = tuple(SUFFIXES_OF)  # no other decoder runs, whatever the file's name or content
GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N", "I"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
ORIENTATION = 0x0112  # EXIF tag; 1 is upright
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
ImageFile.LOAD_TRUNCATED_IMAGES = False


class UnreadableImageError(Exception):
    """A file is not a usable image; the message is a short reason."""


@contextmanager
def convert_decoder_errors() -> Iterator[None]:
    """Convert the many exceptions of decoders to `UnreadableImageError` with a short reason."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image") from error
    except (OSError, SyntaxError, ValueError, EOFError, *BOMBS) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UnreadableImageError(reason or type(error).__name__) from error


class Decoded(NamedTuple):
    """An upright image in mode L or RGB, and the mode of its file."""

    image: Image.Image
    mode: str


def decode(file: Path | IO[bytes]) -> Decoded:
    """Decode an image file, or the first frame of an animation, and apply its EXIF orientation.

    Raises:
        UnreadableImageError: if the file is unreadable, truncated, not an image, or of a mode that cannot be converted
            to 8 bits.
    """
    with convert_decoder_errors(), Image.open(file, formats=FORMATS) as opened:
        opened.load()
        mode = opened.mode
        if mode not in GREY_MODES | COLOUR_MODES:
            raise UnreadableImageError(f"unsupported mode {mode}")
        upright = opened.getexif().get(ORIENTATION, 1) == 1
        image: Image.Image = opened if upright else ImageOps.exif_transpose(opened)
        if mode.startswith("I"):
            image = keep_upper_8_bits(image)
        elif mode in ("P", "PA", "RGBA", "LA"):
            image = composite_on_white(image)
        return Decoded(image.convert("L" if mode in GREY_MODES else "RGB"), mode)


def is_plain_jpeg(file: IO[bytes]) -> bool:
    """Check, without decoding it, whether a file is an upright grey or RGB JPEG, which all decoders read the same way.

    Raises:
        UnreadableImageError: if the file is not an image.
    """
    with convert_decoder_errors(), Image.open(file, formats=FORMATS) as opened:
        return opened.format == "JPEG" and opened.mode in ("L", "RGB") and opened.getexif().get(ORIENTATION, 1) == 1


def to_array(image: Image.Image, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Convert an image to an array with a number of channels and a size.

    Args:
        image: Image of mode L or RGB.
        channels: 1 (grey) or 3 (RGB).
        size: Height and width in pixels; images of other sizes are resized (bilinear, antialiased; the aspect ratio may
            change).

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
    """Decode an image and convert it to an array uint8 (H, W, C), as `decode` and `to_array` do."""
    return to_array(decode(file).image, channels, size)


def keep_upper_8_bits(image: Image.Image) -> Image.Image:
    """Convert 16-bit values to 8 bits, as viewers do.

    Raises:
        UnreadableImageError: if a value needs more than 16 bits: which value is white is then unknown.
    """
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImageError(f"unsupported mode {image.mode}: values from {values.min()} to {values.max()}")
    return Image.fromarray((values.astype(np.uint32) >> 8).astype(np.uint8))


def composite_on_white(image: Image.Image) -> Image.Image:
    """Composite a transparent image on a white background; the colour of pixels with alpha 0 is arbitrary."""
    image = image.convert("RGBA")
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image)
    return background
