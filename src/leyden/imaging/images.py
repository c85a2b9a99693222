"""Reading of image files as arrays, shared by preparation and prediction so that they cannot differ."""

import ctypes
import functools
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError, features
from PIL.TiffImagePlugin import PLANAR_CONFIGURATION, TILELENGTH, TILEWIDTH, TiffImageFile

from leyden.errors import one_line
from leyden.files.regular_files import read_regular_file
from leyden.imaging.bit_depth import DeepImage, find_layout, read_deep_image, skip_exif, smallest_bit_depth
from leyden.imaging.image_metadata import TIFF_MARKS, drop_damaged_metadata

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
GREY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
MODES = GREY_MODES | COLOUR_MODES
ORIENTATION = 0x0112  # EXIF tag
TRANSPOSITIONS = {  # that make an image upright, by its orientation; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_PADDING = bytes(range(255)) * 8  # begins with 0: after a last byte of 255, other bytes would be a marker
MIDDLE_GREY = {127, 128}
MAX_REASON_LENGTH = 200
ImageFile.LOAD_TRUNCATED_IMAGES = False


class UnreadableImageError(Exception):
    """A file is not a usable image; the message is a short reason."""


class ImageReader(NamedTuple):
    """How files become pixels; `leyden prepare` stores it in the model, so that `leyden predict` reads files alike."""

    min_image_side: int = 4  # of height and width, in pixels
    max_pixels: int = 100_000_000
    bit_depth: int | None = 16  # used of the 16 bits of deep images: `1 << bit_depth` is white; None: each image's own

    @classmethod
    def from_input(cls, description: Mapping[str, Any]) -> Self:
        """Return the reader in the description of a model's `input`; files of older versions have none."""
        return cls(**{key: value for key, value in description.get("reader", {}).items() if key in cls._fields})


def as_unreadable(error: Exception) -> UnreadableImageError:
    """Convert any exception of a decoder to one with a short reason.

    On damaged files, decoders also raise exceptions that look like mistakes in their code, such as `struct.error`.
    """
    if isinstance(error, UnreadableImageError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return UnreadableImageError("too large: it exceeds max_pixels")
    if isinstance(error, MemoryError):
        return UnreadableImageError("not enough memory to decode it")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error, MAX_REASON_LENGTH)
    is_plain = isinstance(error, OSError | SyntaxError | ValueError | EOFError) and reason
    return UnreadableImageError(reason if is_plain else f"damaged: {type(error).__name__} {reason}".strip())


@contextmanager
def decoder_limits(max_pixels: int) -> Iterator[None]:
    """Limit what decoders allocate before an image's size is known, and silence their messages, which name no file.

    This is a setting of the process: enter it before threads are started that decode.
    """
    before, logger = Image.MAX_IMAGE_PIXELS, logging.getLogger("PIL")
    level = logger.level
    Image.MAX_IMAGE_PIXELS = max_pixels
    silence_libtiff()
    try:
        logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
        logger.setLevel(level)


@functools.cache
def silence_libtiff() -> None:
    """Stop libtiff from writing errors to stderr; Pillow does so for its warnings, and raises an exception for both."""
    with suppress(OSError, AttributeError):  # linked in another way: the lines are harmless
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


class Decoded(NamedTuple):
    """An upright image in mode L or RGB."""

    image: Image.Image
    mode: str  # of its file
    deep: DeepImage | None  # the values of an image with 16 bits per channel, not made upright


def read_content(path: str | Path) -> bytes:
    """Read a file.

    Raises:
        UnreadableImageError: if it cannot be read, is not a regular file, or is too large.
    """
    try:
        return read_regular_file(path)
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from error


def decode(file: Path | bytes, reader: ImageReader = ImageReader()) -> Decoded:
    """Decode an image, or the first frame of an animation, and apply its EXIF orientation.

    Args:
        file: The file, or its content.
        reader: Limits of a usable image, and the range of images with 16 bits per channel.

    Raises:
        UnreadableImageError: if the file is unreadable, truncated, not an image, too small, too large, or of a mode
            that cannot be converted to 8 bits.
    """
    content = file if isinstance(file, bytes) else read_content(file)
    try:
        content = drop_damaged_metadata(content)
        with open_image(content) as opened:
            return decode_opened(content, opened, reader)
    except Exception as error:
        raise as_unreadable(error) from error


def decode_opened(content: bytes, opened: ImageFile.ImageFile, reader: ImageReader) -> Decoded:
    check_size(opened, reader)
    check_strips(opened)
    deep = read_deep_image(content, opened)
    layout = find_layout(opened)
    opened.load()
    check_complete(content, opened)
    scale_transparent_grey(opened, layout)
    mode = opened.mode
    if deep:
        image = deep.to_image(reader.bit_depth or smallest_bit_depth(deep.maximum))
    elif mode in MODES:
        image = opened
    else:
        raise UnreadableImageError(f"unsupported mode {mode}")
    is_grey = image.mode in GREY_MODES
    if image.has_transparency_data:
        image = composite_on_white(image)
    image = image.convert("L" if is_grey else "RGB")
    transposition = find_transposition(opened)
    return Decoded(image if transposition is None else image.transpose(transposition), mode, deep)


def scale_transparent_grey(opened: ImageFile.ImageFile, layout: str) -> None:
    """Scale the value that is transparent in a PNG file of 2 or 4 bits as Pillow scales the pixels, to 8 bits."""
    key = opened.info.get("transparency")
    if isinstance(key, int) and layout in ("L;2", "L;4"):
        maximum = (1 << int(layout[-1])) - 1
        opened.info["transparency"] = key % (maximum + 1) * 255 // maximum


def check_complete(content: bytes, opened: ImageFile.ImageFile) -> None:
    """Check that a JPEG file was not cut off and ended properly: libjpeg makes up the rest in middle grey.

    A few complete images also end in this grey. The pixels of these do not depend on what follows their data.

    Raises:
        UnreadableImageError: if the end is missing.
    """
    if opened.format != "JPEG" or not content.endswith(JPEG_END):
        return
    corner = opened.getpixel((opened.width - 1, opened.height - 1))
    if set(corner if isinstance(corner, tuple) else (corner,)) <= MIDDLE_GREY:
        with Image.open(io.BytesIO(content[:-2] + JPEG_PADDING + JPEG_END), formats=["JPEG"]) as padded:
            if padded.tobytes() != opened.tobytes():
                raise UnreadableImageError("truncated: the JPEG data ends before the image does")


def open_image(content: bytes) -> ImageFile.ImageFile:
    """Open an image without decoding its pixels.

    Raises:
        UnreadableImageError: if it is not an image.
    """
    if not content:
        raise UnreadableImageError("empty file")
    try:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        is_tiff = content[:4] in TIFF_MARKS
        raise UnreadableImageError("damaged TIFF, or of an unsupported kind" if is_tiff else "not an image") from error
    assert isinstance(opened, ImageFile.ImageFile)
    skip_exif(opened)
    return opened


def check_size(opened: Image.Image, reader: ImageReader) -> None:
    """Check the size in the header of an image."""
    width, height = opened.size
    if min(width, height) < reader.min_image_side:
        limit = f"a side is below {reader.min_image_side} pixels (min_image_side)"
        raise UnreadableImageError(f"too small: {width}x{height}, {limit}")
    if width * height > reader.max_pixels:
        raise UnreadableImageError(f"too large: {width}x{height}, above {reader.max_pixels} pixels (max_pixels)")
    if isinstance(opened, TiffImageFile):  # a whole tile is decoded at once, however small the image is
        width, height = opened.tag_v2.get(TILEWIDTH, 0), opened.tag_v2.get(TILELENGTH, 0)
        if width * height > reader.max_pixels:
            raise UnreadableImageError(f"too large: tiles of {width}x{height}, above {reader.max_pixels} pixels")


def check_strips(opened: Image.Image) -> None:
    """Check that the strips of a TIFF file that is not compressed cover the image: Pillow leaves the rest black."""
    if isinstance(opened, TiffImageFile) and opened.tile and opened.tile[0].codec_name == "raw":
        num_planes = len(opened.getbands()) if opened.tag_v2.get(PLANAR_CONFIGURATION) == 2 else 1
        extents = [tile.extents or (0, 0, *opened.size) for tile in opened.tile]
        covered = sum((right - left) * (bottom - top) for left, top, right, bottom in extents)
        if covered < opened.width * opened.height * num_planes:
            raise UnreadableImageError("damaged TIFF: some of its strips are missing")


def find_transposition(opened: Image.Image) -> Image.Transpose | None:
    """Return what makes an image upright by its EXIF orientation; None if it is upright, or its EXIF is damaged.

    The other tags are neither read nor written: one that nobody needs must not reject a good picture.
    """
    try:
        tags = opened.tag_v2 if isinstance(opened, TiffImageFile) else opened.getexif()
        return TRANSPOSITIONS.get(tags.get(ORIENTATION, 1))
    except Exception:  # the parser raises many kinds
        return None


def is_plain_jpeg(content: bytes) -> bool:
    """Check, without decoding it, whether a file is an upright grey or RGB JPEG, which all decoders read the same way.

    Raises:
        UnreadableImageError: if the file is a damaged JPEG.
    """
    if not content.startswith(JPEG_START):
        return False
    try:
        with open_image(content) as opened:
            return opened.format == "JPEG" and opened.mode in ("L", "RGB") and find_transposition(opened) is None
    except Exception as error:
        raise as_unreadable(error) from error


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


def read_image(
    file: Path | bytes, channels: int, size: tuple[int, int], reader: ImageReader = ImageReader()
) -> np.ndarray:
    """Decode an image and convert it to an array uint8 (H, W, C), as `decode` and `to_array` do."""
    image = decode(file, reader).image
    try:
        return to_array(image, channels, size)
    except Exception as error:  # out of memory
        raise as_unreadable(error) from error


def composite_on_white(image: Image.Image) -> Image.Image:
    """Composite a transparent image on a white background; the colour of pixels with alpha 0 is arbitrary."""
    image = image.convert("RGBA")
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image)
    return background
