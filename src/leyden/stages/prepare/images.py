"""Packing of images: as pixels, as JPEG files, or the training images as shards."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
    shape = packed_shape(examples, settings.image_size, settings.max_image_size)
    stored = *with_margin(shape[:2], settings.crop_margin), shape[2]
    files = {"files": describe_files(examples)}
    if settings.shards:
        location = shard_location(settings.shards, folder / MANIFEST, shape, settings.shard_mb)
        read_rows = partial(packed_rows, source, shape=shape)
        report = write_sharded(folder, location, examples, read_rows, shape, settings.shard_mb)
        storage = f"{describe_storage(examples, stored, None)}, training images in shards at {location}"
        return {"labels": labels, **report, **files, "stored": storage}
    num_encoded = None
    if choose_storage(settings.storage, len(examples), stored) == "jpeg":
        num_encoded = write_jpegs(folder, jpeg_files(source, examples, stored[2]), examples)
    else:
        write_pixels(folder, packed_rows(source, examples, stored), examples, stored)
    write_labels(folder, examples)
    report = describe_arrays(folder, shape, stored)
    return {"labels": labels, **report, **files, "stored": describe_storage(examples, stored, num_encoded)}
