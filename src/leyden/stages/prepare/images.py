"""Reading and packing of images: as pixels, as JPEG files, or the training images as shards."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from leyden.data.packed import MANIFEST, SPLITS, Split, read_split
from leyden.imaging.bit_depth import smallest_bit_depth
from leyden.imaging.mask_classes import from_hex
from leyden.imaging.masks import draw_overlay
from leyden.stages.prepare.contact import DrawRow, draw_cell, write_contact_sheets
from leyden.stages.prepare.discovery import Candidate
from leyden.stages.prepare.examples import Example, RejectedFile, Shape
from leyden.stages.prepare.findings import describe_arrays, describe_files, describe_storage
from leyden.stages.prepare.packing import write_jpegs, write_pixels, write_targets
from leyden.stages.prepare.reading import Source, jpeg_files, packed_rows, packed_shape, read_examples
from leyden.stages.prepare.settings import Storage, choose_storage, with_margin
from leyden.stages.prepare.shards import HELD_OUT_SPLITS, SAMPLE, remove_sample, shard_location, write_sharded
from leyden.stages.prepare.validation import Limits, validate_images
from leyden.tasks.task import Task


class PackSettings(NamedTuple):
    """How images are packed; `prepare` documents the settings."""

    image_size: tuple[int, int] | None
    max_image_size: int
    crop_margin: float
    storage: Storage
    shards: str | None
    shard_mb: float


class ImagePacker:
    """Reads and packs images, as `SequencePacker` does sequences."""

    def __init__(self, settings: PackSettings) -> None:
        self.settings = settings

    def read(
        self, source: Source, candidates: Sequence[Candidate], task: Task
    ) -> tuple[list[Example], list[RejectedFile]]:
        """Decode every file once; return the usable ones, and the others with the reason."""
        size, max_kept_pixels = pixels_to_keep(self.settings)
        validate = partial(validate_images, Limits(source.reader, size, max_kept_pixels))
        return read_examples(source, candidates, task, validate, size)

    def pack(self, folder: Path, source: Source, examples: Sequence[Example], task: Task) -> dict[str, Any]:
        """Write images and targets, and return their description for report.json."""
        source = source._replace(reader=source.reader._replace(bit_depth=find_bit_depth(examples)))
        shape = packed_shape(examples, self.settings.image_size, self.settings.max_image_size)
        write = self._write_shards if self.settings.shards else self._write_arrays
        description = write(folder, source, examples, shape, task)
        description["input"]["reader"] = source.reader._asdict()
        return {"files": describe_files(examples), **description}

    def draw(self, folder: Path, task: Task) -> None:
        """Write contact sheets of what was packed."""
        drawn = (SAMPLE, *HELD_OUT_SPLITS) if self.settings.shards else SPLITS
        splits = (read_split(folder, name) for name in drawn)
        write_contact_sheets(folder, task, ((drawer(task, split), split.targets) for split in splits))
        remove_sample(folder)

    def _write_arrays(
        self, folder: Path, source: Source, examples: Sequence[Example], shape: Shape, task: Task
    ) -> dict[str, Any]:
        stored = *with_margin(shape[:2], self.settings.crop_margin), shape[2]
        num_encoded = None
        if choose_storage(self.settings.storage, len(examples), stored) == "jpeg":
            num_encoded = write_jpegs(folder, jpeg_files(source, examples, stored[2]), examples)
        else:
            write_pixels(folder, packed_rows(source, examples, stored), examples, stored)
        write_targets(folder, examples, task, stored[:2])
        storage = describe_storage(examples, stored, num_encoded)
        return {**describe_arrays(folder, shape, stored), "stored": storage}

    def _write_shards(
        self, folder: Path, source: Source, examples: Sequence[Example], shape: Shape, task: Task
    ) -> dict[str, Any]:
        assert self.settings.shards is not None
        location = shard_location(self.settings.shards, folder / MANIFEST, shape, self.settings.shard_mb)
        read_rows = partial(packed_rows, source, shape=shape)
        description = write_sharded(folder, location, examples, read_rows, shape, self.settings.shard_mb, task)
        storage = f"{describe_storage(examples, shape, None)}, training images in shards at {location}"
        return {**description, "stored": storage}


def drawer(task: Task, split: Split) -> DrawRow:
    """Return what draws a row of a split: its image, under its mask if there is one."""
    if not task.is_dense:
        return lambda row: draw_cell(split.images[row])
    palette = list(map(from_hex, task.palette or ()))
    return lambda row: draw_cell(draw_overlay(split.images[row], split.targets[row], palette))


def pixels_to_keep(settings: PackSettings) -> tuple[tuple[int, int] | None, int]:
    """Choose which decoded images are cached for packing.

    Returns:
        Height and width of cached images, if known; and the largest number of pixels of an image that is cached in its
        own size.
    """
    if settings.storage == "jpeg" or settings.shards:  # with shards, the disk may be too small
        return None, 0
    size = with_margin(settings.image_size, settings.crop_margin) if settings.image_size else None
    return size, round(settings.max_image_size * settings.crop_margin) ** 2


def find_bit_depth(examples: Sequence[Example]) -> int:
    """Return how many of their 16 bits per channel the images use, and warn of it; 16 if there are none.

    The training images decide, since the model must not depend on the others: a brighter one of these is cut off at
    white, as it will be at prediction.
    """
    deep = [example for example in examples if example.content.maximum is not None]
    maxima = [example.content.maximum for example in deep if example.split == "train"]
    bit_depth = smallest_bit_depth(max(maxima)) if maxima else 16
    if deep:
        print(
            f"prepare: warning: {len(deep):,} of {len(examples):,} images have 16 bits per channel; the largest value "
            f"of the training images is {max(maxima, default=0)}: all are read as {bit_depth} bits, where values from "
            f"{(1 << bit_depth) - 1} are white (black if the file says that 0 is white)",
            file=sys.stderr,
        )
    return bit_depth
