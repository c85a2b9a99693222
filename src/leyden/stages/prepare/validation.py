"""Validation of image files, which are read and decoded once, and their conversion, in worker processes."""

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from leyden.data.sequences import UnreadableSequenceError
from leyden.imaging.images import (
    ImageReader,
    UnreadableImageError,
    as_unreadable,
    decode,
    decoder_limits,
    is_plain_jpeg,
    read_content,
    read_image,
    to_array,
)

THUMBNAIL_SHAPE = (16, 18)  # of the grey thumbnail that near duplicates are compared by
ENCODED_QUALITY = 95


class Limits(NamedTuple):
    """How files are read, and what is kept of them for packing."""

    reader: ImageReader
    image_size: tuple[int, int] | None  # height and width in which pixels are kept; None for the image's own
    max_kept_pixels: int  # number of pixels above which none are kept if `image_size` is None


class ValidImage(NamedTuple):
    """The properties of a usable image."""

    # Of the upright 8-bit pixels and their shape, which the model will see, whatever the file's format. Of all 16 bits
    # of deep images: which 8 of them the model will see depends on other files, on which splits must not depend.
    digest: str
    thumbnail: bytes  # grey, 16 rows of 18
    height: int  # in pixels, upright, as is `width`
    width: int
    channels: int  # 1 for grey images, else 3
    mode: str  # of the file
    maximum: int | None  # the largest value of a file with 16 bits per channel; None for others

    @property
    def size_names(self) -> tuple[str, ...]:
        """What the first numbers of the shape are."""
        return "the image's height", "the image's width"

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def side(self) -> int:
        """Size that decides whether an image is compared with others."""
        return min(self.height, self.width)

    @property
    def least_correlation(self) -> float:
        """Of near duplicates' thumbnails; how similar other images are says more."""
        return 0.0


# The data folder; paths with their content if it was already read, or the reason why it was not.
Job = tuple[str, Sequence[tuple[str, bytes | str | None]]]
Result = TypeVar("Result")


def convert_files(convert: Callable[[bytes], Result], job: Job) -> list[Result | str]:
    """Convert the content of files, in order; the result is the reason for files that are not usable."""
    data, files = job
    results: list[Result | str] = []
    for path, content in files:
        try:
            if content is None:
                content = read_content(os.path.join(data, path))  # noqa: PTH118 - Path is slow
            if isinstance(content, str):
                raise UnreadableImageError(content)
            if not content:
                raise UnreadableImageError("empty file")
            results.append(convert(content))
        except (UnreadableImageError, UnreadableSequenceError) as error:
            results.append(str(error))
    return results


def convert_images(max_pixels: int, convert: Callable[[bytes], Result], job: Job) -> list[Result | str]:
    """Convert image files, in order; those of more than `max_pixels` are not usable."""

    def convert_image(content: bytes) -> Result:
        try:
            return convert(content)
        except Exception as error:
            raise as_unreadable(error) from error

    with decoder_limits(max_pixels):
        return convert_files(convert_image, job)


def validate_images(limits: Limits, job: Job) -> list[tuple[ValidImage, bytes] | str]:
    """Validate files, in order: properties and pixels of each, or the reason why it is not usable."""
    return convert_images(limits.reader.max_pixels, partial(validate_image, limits), job)


def validate_image(limits: Limits, content: bytes) -> tuple[ValidImage, bytes]:
    """Return an image's properties and its pixels (H, W, channels), empty if there are too many."""
    image, mode, deep = decode(content, limits.reader)
    width, height = image.size
    pixels = image.tobytes()
    channels = len(image.getbands())
    digest = hashlib.sha256(deep.to_bytes() if deep else pixels)
    digest.update(b"%d %d %d" % (height, width, channels))
    kept = b""
    if deep:
        pass  # its 8 bits are known when all files have been read
    elif limits.image_size:
        kept = to_array(image, channels, limits.image_size).tobytes()
    elif height * width <= limits.max_kept_pixels:
        kept = pixels
    maximum = deep.maximum if deep else None
    return ValidImage(digest.hexdigest(), make_thumbnail(image), height, width, channels, mode, maximum), kept


def make_thumbnail(image: Image.Image) -> bytes:
    grey = image if image.mode == "L" else image.convert("L")
    rows, columns = THUMBNAIL_SHAPE
    thumbnail = grey.resize((columns, rows), Image.Resampling.BOX).tobytes()
    # Copied: Pillow returns the rest of a block of 64 kB, and many of those fragment the heap (3 kB each, measured).
    return bytes(memoryview(thumbnail))


def to_pixels(shape: tuple[int, int, int], reader: ImageReader, content: bytes) -> np.ndarray:
    """Return a file's pixels in the shape (H, W, C)."""
    return read_image(content, shape[2], shape[:2], reader)


def to_jpeg(channels: int, reader: ImageReader, content: bytes) -> tuple[bytes, bool]:
    """Return a file as JPEG, and whether it had to be encoded: upright grey or RGB JPEG files are kept as they are."""
    if is_plain_jpeg(content):
        return content, False
    image = decode(content, reader).image.convert("L" if channels == 1 else "RGB")
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=ENCODED_QUALITY, subsampling="4:4:4")
    return encoded.getvalue(), True
