"""Images with 16 bits per channel: their exact values, and the 8 bits of them that models are given.

A file of 16 bits often holds the 10, 12 or 14 bits of a camera or a scanner, and does not say so. The range is
therefore a property of the data set: `leyden prepare` finds it, and the model stores it.
"""

import io
import sys
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    MM,
    OPEN_INFO,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from leyden.trust.description import BIT_DEPTHS

SIGNED = 2  # value of SAMPLEFORMAT
# How Pillow names the layouts of files. It keeps the upper 8 bits of others, CMYK and premultiplied alpha: those come
# from image editors, which use all 16 bits.
RED_GREEN_BLUE = ("RGB;16", "RGBA;16", "RGBX;16")
# Where 0 is white, Pillow knows one of the byte orders only.
OPEN_INFO.setdefault((MM, 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))


class DeepImage(NamedTuple):
    """The values of an image with 16 bits per channel, as its file holds them."""

    values: np.ndarray  # uint16 (H, W, 1 or 3)
    alpha: np.ndarray | None  # uint8 (H, W); None if all pixels are opaque
    is_inverted: bool  # 0 is white

    @property
    def maximum(self) -> int:
        """The largest value of a pixel that is not transparent."""
        visible = self.values if self.alpha is None else self.values[self.alpha > 0]
        return int(visible.max(initial=0))

    def to_bytes(self) -> bytes:
        """Return what distinguishes the picture from others, on every machine."""
        alpha = b"" if self.alpha is None else self.alpha.tobytes()
        return self.values.astype("<u2").tobytes() + alpha + b"inverted" * self.is_inverted

    def to_image(self, bit_depth: int) -> Image.Image:
        """Return the upper 8 of `bit_depth` bits, in mode L, LA, RGB or RGBA; what is brighter is white."""
        pixels = np.minimum(self.values >> (bit_depth - 8), 255).astype(np.uint8)
        pixels = 255 - pixels if self.is_inverted else pixels
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        return image


def smallest_bit_depth(maximum: int) -> int:
    """Return the smallest bit depth of sensors that holds a value.

    Not the value itself: the brightest image is often an outlier, and a new image may be brighter, which a power of two
    leaves room for.
    """
    return next(depth for depth in BIT_DEPTHS if maximum < 1 << depth)


def read_deep_image(content: bytes, opened: ImageFile) -> DeepImage | None:
    """Read the values of an image with 16 bits per channel; return None for others.

    Args:
        content: The file.
        opened: The file, opened and not yet loaded.

    Raises:
        ValueError: if a value is negative or needs more than 16 bits: which value is white is then unknown; or if the
            channels of a TIFF file are separate.
    """
    layout = find_layout(opened)
    if isinstance(opened, TiffImageFile):
        check_supported(opened.tag_v2, opened.mode)
    if opened.mode.startswith("I"):
        # The bytes that libtiff returns are in the machine's order, which Pillow forgets for signed numbers.
        is_swapped = layout.endswith("BS") and opened.tile[0].codec_name == "libtiff"
        values = read_with_layout(opened, layout[:-2] + "NS") if is_swapped else to_array(opened)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(f"unsupported mode {opened.mode}: values from {values.min()} to {values.max()}")
        values = values.astype(np.uint16)[..., None]
        is_inverted = isinstance(opened, TiffImageFile) and opened.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0
    elif layout == "LA;16B":  # grey, alpha: the four bytes of a pixel are read as if they were four channels
        pixels = read_with_layout(opened, "RGBA")
        return DeepImage(join(pixels[..., :1], pixels[..., 1:2]), pixels[..., 2], False)
    elif layout[:-1] in RED_GREEN_BLUE:
        # Pillow keeps the first of a value's two bytes, in the byte order of the layout: both orders are read.
        other = "B" if (layout[-1] == "L" or (layout[-1] == "N" and sys.byteorder == "little")) else "L"
        high = to_array(opened)
        with Image.open(io.BytesIO(content), formats=[str(opened.format)]) as again:
            assert isinstance(again, ImageFile)
            skip_exif(again)
            low = read_with_layout(again, layout[:-1] + other)
        values, is_inverted = join(high[..., :3], low[..., :3]), False
        if opened.mode == "RGBA":
            return DeepImage(values, high[..., 3], False)
    else:
        return None
    key = opened.info.get("transparency")  # a value that stands for transparent pixels, in PNG files
    is_visible = None if key is None else (values != key).any(axis=2)
    return DeepImage(values, None if is_visible is None else is_visible * np.uint8(255), is_inverted)


def skip_exif(opened: ImageFile) -> None:
    """Keep Pillow from reading all EXIF tags of a TIFF file, each of which can be damaged, and from transposing it."""
    if isinstance(opened, TiffImageFile):
        opened.load_end = lambda: None  # type: ignore[method-assign]


def check_supported(tags: ImageFileDirectory_v2, mode: str) -> None:
    """Check that a TIFF file is not of a kind that Pillow misreads.

    Raises:
        ValueError: with the reason why it is not supported.
    """
    bits = tags.get(BITSPERSAMPLE, (1,))
    if tags.get(PLANAR_CONFIGURATION) == 2 and (mode == "LA" or (len(bits) > 1 and max(bits) > 8)):
        raise ValueError("unsupported: grey and alpha, or 16 bits per channel, in separate planes")
    if max(bits) <= 8 and SIGNED in tags.get(SAMPLEFORMAT, ()):
        raise ValueError("unsupported: signed numbers of 8 bits")


def find_layout(opened: ImageFile) -> str:
    """Return Pillow's name of how a PNG or TIFF file stores a pixel, empty for other formats."""
    if opened.format not in ("PNG", "TIFF") or not opened.tile:
        return ""
    args = opened.tile[0].args
    return str(args[0] if isinstance(args, tuple) else args)


def read_with_layout(opened: ImageFile, layout: str) -> np.ndarray:
    """Read a file as if its pixels were stored in another layout of the same size."""
    opened.tile = [
        tile._replace(args=(layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout) for tile in opened.tile
    ]
    return to_array(opened)


def to_array(opened: Image.Image) -> np.ndarray:
    opened.load()
    return np.asarray(opened.copy())  # with the size before the transposition, which Pillow's `size` anticipates


def join(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Join the upper and lower bytes of values: uint16."""
    return (high.astype(np.uint16) << 8) | low
