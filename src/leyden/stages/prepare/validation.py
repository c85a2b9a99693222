"""Judge files: read each once, decode it, and keep what decides about it. Runs in worker processes."""

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

THUMB_SHAPE = (8, 9)  # of the grey miniature that near duplicates are sought by
THUMB_SIZE = (9, 8)
ENCODED_QUALITY = 95


class Limits(NamedTuple):
    """What an image must keep to, in pixels, and how many of its pixels are kept at hand for packing."""

    min_side: int
    max_pixels: int
    image_size: tuple[int, int] | None
    max_kept_pixels: int


class ValidImage(NamedTuple):
    """What is known of a good image once it was read.

    Attributes:
        digest: Hash of the upright 8-bit pixels and their shape, whatever the file's format: what the model will see.
        thumb: Grey miniature, 8 rows of 9 bytes.
        height, width: Size in pixels, upright.
        channels: 1 for grey images, else 3.
        mode: Mode of the file.
    """

    digest: str
    thumb: bytes
    height: int
    width: int
    channels: int
    mode: str

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def side(self) -> int:
        return min(self.height, self.width)


Judgement = (
    tuple[ValidImage, bytes] | str
)  # with the pixels (H, W, channels) to pack, or none where they are too many; or why not
Job = tuple[
    str, Sequence[tuple[str, bytes | None]]
]  # the data folder; files with their content where it was read already


def judge(limits: Limits, job: Job) -> list[Judgement]:
    """Judge files, in order."""
    with decoder_limits(limits.max_pixels):
        return [judge_file(limits, *read) for read in read_files(job)]


def judge_file(limits: Limits, content: bytes, reason: str) -> Judgement:
    if not content:
        return reason or "empty file"
    try:
        image, mode = decode(io.BytesIO(content))
    except UnreadableImageError as error:
        return str(error)
    width, height = image.size
    if min(width, height) < limits.min_side:
        return f"too small: {width}x{height}, a side is below {limits.min_side} pixels (min_image_side)"
    grey = image if image.mode == "L" else image.convert("L")
    # Copied: what Pillow gives is the remainder of a block of 64 kB, and to keep many of those scatters the heap (3 kB each, measured).
    thumb = bytes(memoryview(grey.resize(THUMB_SIZE, Image.Resampling.BOX).tobytes()))
    pixels = image.tobytes()
    channels = len(image.getbands())
    digest = hashlib.sha256(pixels)
    digest.update(b"%d %d %d" % (height, width, channels))
    kept = b""
    if limits.image_size:
        kept = to_array(image, channels, limits.image_size).tobytes()
    elif height * width <= limits.max_kept_pixels:
        kept = pixels
    return ValidImage(digest.hexdigest(), thumb, height, width, channels, mode), kept


def read_files(job: Job) -> Iterator[tuple[bytes, str]]:
    """Give each file's content, or nothing and the reason why it cannot be read."""
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
    """Read large images again, once the common shape (H, W, C) is known, and bring them to it."""
    height, width, channels = shape
    rows: list[np.ndarray | str] = []
    with decoder_limits(max_pixels):
        for content, reason in read_files(job):
            try:
                rows.append(to_array(decode(io.BytesIO(content)).image, channels, (height, width)))
            except UnreadableImageError as error:
                rows.append(reason or str(error))
    return rows


def as_jpeg(max_pixels: int, channels: int, job: Job) -> list[tuple[bytes, bool] | str]:
    """Give files as JPEG files, each with whether it had to be encoded: an upright grey or RGB JPEG keeps its bytes."""
    found: list[tuple[bytes, bool] | str] = []
    with decoder_limits(max_pixels):
        for content, reason in read_files(job):
            try:
                keep = is_plain_jpeg(io.BytesIO(content))
                found.append((content, False) if keep else (encode(decode(io.BytesIO(content)).image, channels), True))
            except UnreadableImageError as error:
                found.append(reason or str(error))
    return found


def encode(image: Image.Image, channels: int) -> bytes:
    """Encode an image of mode L or RGB, with the least loss that a JPEG has at a usual size."""
    file = io.BytesIO()
    image.convert("L" if channels == 1 else "RGB").save(file, "JPEG", quality=ENCODED_QUALITY, subsampling="4:4:4")
    return file.getvalue()


@contextmanager
def decoder_limits(max_pixels: int) -> Iterator[None]:
    """Refuse images of more pixels before they are decoded, and keep decoders' remarks about images that they can read to themselves."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
