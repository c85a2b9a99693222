"""Validation of image files: each is read and decoded once, in worker processes."""

import hashlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image

from leyden.data.images import UnreadableImageError, decode, is_plain_jpeg, to_array

THUMBNAIL_SHAPE = (8, 9)  # of the grey thumbnail that near duplicates are compared by
ENCODED_QUALITY = 95


class Limits(NamedTuple):
    """Limits of a usable image, and what is kept of it for packing.

    Attributes:
        min_side: Smallest height and width, in pixels.
        max_pixels: Largest number of pixels.
        image_size: Height and width in which pixels are kept; None for the image's own.
        max_kept_pixels: Largest number of pixels that are kept if `image_size` is None.
    """

    min_side: int
    max_pixels: int
    image_size: tuple[int, int] | None
    max_kept_pixels: int


class ValidImage(NamedTuple):
    """What is known of a usable image.

    Attributes:
        digest: Hash of the upright 8-bit pixels and their shape, which the model will see, whatever the file's format.
        thumbnail: Grey thumbnail, 8 rows of 9 bytes.
        height, width: Size in pixels, upright.
        channels: 1 for grey images, else 3.
        mode: Mode of the file.
    """

    digest: str
    thumbnail: bytes
    height: int
    width: int
    channels: int
    mode: str

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def side(self) -> int:
        """Size that decides whether an image is compared with others."""
        return min(self.height, self.width)


# A usable image and its pixels (H, W, channels), empty if there are too many; or the reason why it is not usable.
ValidationResult = tuple[ValidImage, bytes] | str
# The data folder; paths with their content if it was already read.
Job = tuple[str, Sequence[tuple[str, bytes | None]]]


def validate_images(limits: Limits, job: Job) -> list[ValidationResult]:
    """Validate files, in order."""
    with decoder_limits(limits.max_pixels):
        return [validate_image(limits, content, reason) for content, reason in read_files(job)]


def validate_image(limits: Limits, content: bytes, reason: str) -> ValidationResult:
    if not content:
        return reason or "empty file"
    try:
        image, mode = decode(io.BytesIO(content))
    except UnreadableImageError as error:
        return str(error)
    width, height = image.size
    if min(width, height) < limits.min_side:
        return f"too small: {width}x{height}, a side is below {limits.min_side} pixels (min_image_side)"
    pixels = image.tobytes()
    channels = len(image.getbands())
    digest = hashlib.sha256(pixels)
    digest.update(b"%d %d %d" % (height, width, channels))
    kept = b""
    if limits.image_size:
        kept = to_array(image, channels, limits.image_size).tobytes()
    elif height * width <= limits.max_kept_pixels:
        kept = pixels
    return ValidImage(digest.hexdigest(), make_thumbnail(image), height, width, channels, mode), kept


def make_thumbnail(image: Image.Image) -> bytes:
    grey = image if image.mode == "L" else image.convert("L")
    rows, columns = THUMBNAIL_SHAPE
    thumbnail = grey.resize((columns, rows), Image.Resampling.BOX).tobytes()
    # Copied: Pillow returns the rest of a block of 64 kB, and many of those fragment the heap (3 kB each, measured).
    return bytes(memoryview(thumbnail))


def read_files(job: Job) -> Iterator[tuple[bytes, str]]:
    """Yield each file's content and an empty reason, or no content and the reason why it cannot be read."""
    data, files = job
    for path, content in files:
        if content is not None:
            yield content, ""
            continue
        try:
            with open(os.path.join(data, path), "rb", buffering=0) as file:  # noqa: PTH118 - Path costs as much as the read
                yield file.read(), ""
        except OSError as error:
            yield b"", error.strerror or str(error)


def reread(max_pixels: int, shape: tuple[int, int, int], job: Job) -> list[np.ndarray | str]:
    """Read large images again and convert them to the common shape (H, W, C), or return why they cannot be read."""
    height, width, channels = shape
    rows: list[np.ndarray | str] = []
    with decoder_limits(max_pixels):
        for content, reason in read_files(job):
            try:
                rows.append(to_array(decode(io.BytesIO(content)).image, channels, (height, width)))
            except UnreadableImageError as error:
                rows.append(reason or str(error))
    return rows


def to_jpeg(max_pixels: int, channels: int, job: Job) -> list[tuple[bytes, bool] | str]:
    """Return files as JPEG, and whether they had to be encoded: upright grey or RGB JPEG files are kept as they are."""
    results: list[tuple[bytes, bool] | str] = []
    with decoder_limits(max_pixels):
        for content, reason in read_files(job):
            try:
                if is_plain_jpeg(io.BytesIO(content)):
                    results.append((content, False))
                else:
                    results.append((encode_jpeg(decode(io.BytesIO(content)).image, channels), True))
            except UnreadableImageError as error:
                results.append(reason or str(error))
    return results


def encode_jpeg(image: Image.Image, channels: int) -> bytes:
    """Encode an image of mode L or RGB with little loss."""
    file = io.BytesIO()
    image.convert("L" if channels == 1 else "RGB").save(file, "JPEG", quality=ENCODED_QUALITY, subsampling="4:4:4")
    return file.getvalue()


@contextmanager
def decoder_limits(max_pixels: int) -> Iterator[None]:
    """Reject images with more pixels before they are decoded, and suppress decoders' other warnings."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
