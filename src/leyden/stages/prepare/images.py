"""Packing of images: as pixels, as JPEG files, or the training images as shards."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from leyden.data.bit_depth import smallest_bit_depth
from leyden.data.packed import MANIFEST
from leyden.stages.prepare.examples import Example
from leyden.stages.prepare.findings import describe_arrays, describe_files, describe_storage
from leyden.stages.prepare.packing import write_jpegs, write_labels, write_pixels
from leyden.stages.prepare.reading import Source, jpeg_files, packed_rows, packed_shape
from leyden.stages.prepare.settings import Storage, choose_storage, with_margin
from leyden.stages.prepare.shards import shard_location, write_sharded


class PackSettings(NamedTuple):
    """How images are packed; `prepare` documents the settings."""

    image_size: tuple[int, int] | None
    max_image_size: int
    crop_margin: float
    storage: Storage
    shards: str | None
    shard_mb: float


def pack_images(
    folder: Path, examples: Sequence[Example], labels: list[str], source: Source, settings: PackSettings
) -> dict[str, Any]:
    """Write images and labels, and return their description for report.json."""
    source = source._replace(reader=source.reader._replace(bit_depth=find_bit_depth(examples)))
    shape = packed_shape(examples, settings.image_size, settings.max_image_size)
    stored = *with_margin(shape[:2], settings.crop_margin), shape[2]
    files = {"files": describe_files(examples)}
    if settings.shards:
        location = shard_location(settings.shards, folder / MANIFEST, shape, settings.shard_mb)
        read_rows = partial(packed_rows, source, shape=shape)
        report = write_sharded(folder, location, examples, read_rows, shape, settings.shard_mb)
        report["input"]["reader"] = source.reader._asdict()
        storage = f"{describe_storage(examples, stored, None)}, training images in shards at {location}"
        return {"labels": labels, **report, **files, "stored": storage}
    num_encoded = None
    if choose_storage(settings.storage, len(examples), stored) == "jpeg":
        num_encoded = write_jpegs(folder, jpeg_files(source, examples, stored[2]), examples)
    else:
        write_pixels(folder, packed_rows(source, examples, stored), examples, stored)
    write_labels(folder, examples)
    report = describe_arrays(folder, shape, stored)
    report["input"]["reader"] = source.reader._asdict()
    return {"labels": labels, **report, **files, "stored": describe_storage(examples, stored, num_encoded)}


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
