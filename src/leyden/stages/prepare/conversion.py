"""Conversion of files and of members of archives, in worker processes."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from leyden.cost import announce_cost
from leyden.stages.prepare.archives import FileEntry, read_contents
from leyden.stages.prepare.validation import Job, convert_images
from leyden.stages.prepare.workers import ITEMS_PER_CHUNK, run_chunks, split_into_chunks
from leyden.tasks.targets import ConvertFiles

Item = TypeVar("Item")
Result = TypeVar("Result")


def with_progress(items: Sequence[Item], verb: str, noun: str) -> Iterable[Item]:
    """Show a progress bar on a terminal; elsewhere, print a line if it takes more than a minute."""
    if sys.stderr.isatty():
        return tqdm(items, verb, unit=f" {noun}")
    return announce_cost(items, "prepare", f"{verb} {len(items):,} {noun}")


def apply_to_files(
    function: Callable[[Job], Sequence[Result]], data: Path, num_workers: int | None, files: Sequence[FileEntry]
) -> Iterator[Result]:
    """Apply a function to files in chunks, in order; those in one archive must be in the order of the archive."""
    contents = zip((file.path for file in files), read_contents(data, files), strict=True)
    chunks_of_files = split_into_chunks(contents, lambda item: len(item[1] or ""))
    jobs = ((str(data), chunk) for chunk in chunks_of_files)
    chunks = run_chunks(function, jobs, -(-len(files) // ITEMS_PER_CHUNK), num_workers, name_files)
    return (result for chunk in chunks for result in chunk)


def name_files(job: Job) -> str:
    """Name the files of a chunk by its first and last."""
    paths = [path for path, _ in job[1]]
    return f"the {len(paths)} files from {paths[0]} to {paths[-1]}"


def target_converter(
    data: Path, entries: Sequence[FileEntry], max_pixels: int, num_workers: int | None
) -> ConvertFiles:
    """Return what converts targets that are image files among `entries`, which are in the order of their archives."""

    def convert(function: Callable[[bytes], Any], paths: Iterable[str]) -> Iterator[tuple[str, Any]]:
        wanted = set(paths)
        files = [entry for entry in entries if entry.path in wanted]
        results = apply_to_files(partial(convert_images, max_pixels, function), data, num_workers, files)
        progress = with_progress(files, "reading", "targets")
        return ((file.path, result) for file, result in zip(progress, results, strict=True))

    return convert
