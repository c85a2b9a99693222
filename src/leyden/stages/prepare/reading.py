"""The two passes over the files: validate all of them; then return the rows to pack, from the cache or the files."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from leyden.errors import UserError
from leyden.imaging.images import ImageReader, to_array
from leyden.stages.prepare.conversion import apply_to_files, with_progress
from leyden.stages.prepare.discovery import Candidate
from leyden.stages.prepare.examples import Example, RejectedFile, Shape
from leyden.stages.prepare.pixel_cache import PixelCache, as_image
from leyden.stages.prepare.validation import Job, convert_images, to_jpeg, to_pixels
from leyden.tasks.targets import TargetFile, UnusableTargetError
from leyden.tasks.task import Task

Result = TypeVar("Result")


class Source(NamedTuple):
    """Where and how files are read."""

    data: Path
    num_workers: int | None  # None decides by the time that the first chunk takes
    cache: PixelCache  # keeps what is packed later
    reader: ImageReader


def read_examples(
    source: Source,
    candidates: Sequence[Candidate],
    task: Task,
    validate: Callable[[Job], Sequence[tuple[Any, bytes] | str]],
    image_size: tuple[int, int] | None,
) -> tuple[list[Example], list[RejectedFile]]:
    """Read and decode every file once.

    What will be packed goes to the cache, so that memory holds a few hundred bytes per file. `image_size` is the height
    and width of the pixels that `validate` returns; None for the images' own, and for sequences.
    """
    examples: list[Example] = []
    rejected: list[RejectedFile] = []
    results = apply_to_files(validate, source.data, source.num_workers, [candidate.file for candidate in candidates])
    for candidate, result in zip(with_progress(candidates, "reading", "files"), results, strict=True):
        if isinstance(result, str):
            rejected.append(RejectedFile(candidate.path, result))
            continue
        content, pixels = result
        shape = (*image_size, content.shape[2]) if image_size else content.shape
        try:
            target = task.inspect(candidate.label, TargetFile(content.shape[:2], content.shape[:2]))
        except UnusableTargetError as error:
            rejected.append(RejectedFile(candidate.path, str(error)))
            continue
        cached = source.cache.put(pixels, shape) if pixels else None
        examples.append(Example(candidate, target, content, cached))
    return examples, rejected


def packed_rows(source: Source, examples: Sequence[Example], shape: Shape) -> Iterator[np.ndarray]:
    """Yield each example's pixels in the shape (H, W, C); large images are read again, and must not have changed."""
    large = [example.candidate.file for example in examples if example.cached is None]
    convert = partial(to_pixels, shape, source.reader)
    reread_rows = apply_to_files(
        partial(convert_images, source.reader.max_pixels, convert), source.data, source.num_workers, large
    )
    for example in with_progress(examples, "packing", "images"):
        if example.cached is None:
            yield check_unchanged(example, next(reread_rows))
        else:
            pixels = source.cache.get(example.cached)
            yield pixels if pixels.shape == shape else to_array(as_image(pixels), shape[2], shape[:2])


def jpeg_files(source: Source, examples: Sequence[Example], channels: int) -> Iterator[tuple[bytes, bool]]:
    """Return each example as a JPEG file, and whether it had to be encoded; files must not have changed."""
    files = [example.candidate.file for example in examples]
    convert = partial(to_jpeg, channels, source.reader)
    results = apply_to_files(
        partial(convert_images, source.reader.max_pixels, convert), source.data, source.num_workers, files
    )
    progress = with_progress(examples, "packing", "images")
    return (check_unchanged(example, result) for example, result in zip(progress, results, strict=True))


def check_unchanged(example: Example, result: Result | str) -> Result:
    if isinstance(result, str):
        raise UserError(
            f"expected {example.path} to stay unchanged; it changed while it was read ({result}); "
            "run `leyden prepare` again"
        )
    return result


def packed_shape(examples: Sequence[Example], image_size: tuple[int, int] | None, max_image_size: int) -> Shape:
    """Choose the size that the model takes and the number of channels.

    The size is `image_size`, or else the images' median, at most `max_image_size`; channels are 1 if every image is
    grey, else 3.
    """
    height = statistics.median_low(example.content.height for example in examples)
    width = statistics.median_low(example.content.width for example in examples)
    scale = min(1.0, max_image_size / max(height, width))
    size = image_size or (max(1, round(height * scale)), max(1, round(width * scale)))
    return *size, max(example.content.channels for example in examples)
