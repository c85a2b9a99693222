"""Two passes over the files: judge all; then give the rows to pack, from the spool or, where images are large, from the files again."""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from leyden.data.images import to_array
from leyden.errors import UserError
from leyden.stages.prepare.archives import FileEntry, read_contents
from leyden.stages.prepare.discovery import Candidate
from leyden.stages.prepare.examples import AnyJudged, Examples, Shape
from leyden.stages.prepare.pixel_cache import PixelCache, as_image
from leyden.stages.prepare.validation import Job, ValidImage, as_jpeg, reread
from leyden.stages.prepare.workers import ITEMS_PER_CHUNK, run_chunks

Result = TypeVar("Result")


class Source(NamedTuple):
    """Where files are read from, and how: the data folder, processes (None decides), the spool, the most pixels of an image."""

    data: Path
    num_workers: int | None
    spool: PixelCache
    max_pixels: int


def read_examples(
    source: Source,
    candidates: Sequence[Candidate],
    judge: Callable[[Job], Sequence[tuple[AnyJudged, bytes] | str]],
    image_size: tuple[int, int] | None,
) -> Examples:
    """Read and decode every file once; what is to be packed goes to the spool as it comes, so that memory holds a few hundred bytes per file.

    Args:
        source: Where from.
        candidates: Its files.
        judge: What to make of a chunk of files: `judging.judge` or `sequences.judge_sequences`.
        image_size: Height and width of the pixels that `judge` gives; None for the images' own, and for sequences.
    """
    examples = Examples(sorted({candidate.label for candidate in candidates}))
    files = [candidate.file for candidate in candidates]
    results = run_over(judge, source, files)
    for candidate, found in zip(
        candidates, tqdm(results, "prepare", len(files), unit="file", disable=not sys.stderr.isatty()), strict=True
    ):
        if isinstance(found, str):
            examples.rejected.append((candidate.path, found))
            continue
        known, kept = found
        shape = (*image_size, known.shape[2]) if image_size else known.shape
        examples.candidates.append(candidate)
        examples.judged.append(known)
        examples.places.append(source.spool.put(kept, shape) if kept else None)
    return examples


def run_over(
    function: Callable[[Job], Sequence[Result]], source: Source, files: Sequence[FileEntry]
) -> Iterator[Result]:
    """Apply a function to files in chunks, in order."""
    chunks = run_chunks(function, jobs(source.data, files), -(-len(files) // ITEMS_PER_CHUNK), source.num_workers)
    return (result for chunk in chunks for result in chunk)


def jobs(data: Path, files: Sequence[FileEntry]) -> Iterator[Job]:
    contents = zip((file.path for file in files), read_contents(data, files), strict=True)
    while chunk := list(islice(contents, ITEMS_PER_CHUNK)):
        yield str(data), chunk


def packed_rows(source: Source, examples: Examples, shape: Shape) -> Iterator[np.ndarray]:
    """Give each example's pixels in the shape (H, W, C).

    Raises:
        UserError: if a large image that was good a moment ago is so no more.
    """
    large = [
        candidate.file for candidate, place in zip(examples.candidates, examples.places, strict=True) if place is None
    ]
    again = run_over(partial(reread, source.max_pixels, shape), source, large)
    for candidate, place in zip(
        examples.candidates, tqdm(examples.places, "pack", unit="image", disable=not sys.stderr.isatty()), strict=True
    ):
        if place is not None:
            pixels = source.spool.get(place)
            yield pixels if pixels.shape == shape else to_array(as_image(pixels), shape[2], shape[:2])
            continue
        yield unchanged(candidate, next(again))


def jpeg_files(source: Source, examples: Examples, channels: int) -> Iterator[tuple[bytes, bool]]:
    """Give each example as a JPEG file's bytes, and whether it had to be encoded.

    Raises:
        UserError: if an image that was good a moment ago is so no more.
    """
    files = [candidate.file for candidate in examples.candidates]
    found = run_over(partial(as_jpeg, source.max_pixels, channels), source, files)
    progress = tqdm(examples.candidates, "pack", unit="image", disable=not sys.stderr.isatty())
    return (unchanged(candidate, result) for candidate, result in zip(progress, found, strict=True))


def unchanged(candidate: Candidate, found: Result | str) -> Result:
    if isinstance(found, str):
        raise UserError(
            f"expected {candidate.path} to stay as it was; it changed while it was read ({found}); run `leyden prepare` again"
        )
    return found


def packed_shape(judged: Sequence[ValidImage], image_size: tuple[int, int] | None, max_image_size: int) -> Shape:
    """Derive channels (1 if every image is grey, else 3) and the model's size: the one asked for, or the images' median, within bounds."""
    height = statistics.median_low(image.height for image in judged)
    width = statistics.median_low(image.width for image in judged)
    scale = min(1.0, max_image_size / max(height, width))
    size = image_size or (max(1, round(height * scale)), max(1, round(width * scale)))
    return *size, max(image.channels for image in judged)
