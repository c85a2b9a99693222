"""Pack images: as pixels, as JPEG files' bytes, or the training images as shards."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from leyden.stages.prepare.examples import Examples, label_indices
from leyden.stages.prepare.findings import describe_arrays, describe_files, describe_storage
from leyden.stages.prepare.packing import write_jpegs, write_labels, write_pixels
from leyden.stages.prepare.reading import Source, jpeg_files, packed_rows, packed_shape
from leyden.stages.prepare.settings import Storage, choose_storage, with_margin
from leyden.stages.prepare.shards import place_of, write_sharded


class Form(NamedTuple):
    """What the packed images are to be like; `prepare` describes the settings."""

    image_size: tuple[int, int] | None
    max_image_size: int
    crop_margin: float
    storage: Storage
    shards: str | None
    shard_mb: float


def pack_images(folder: Path, examples: Examples, splits: Sequence[str], source: Source, form: Form) -> dict[str, Any]:
    """Write images and labels, and describe them as report.json has it."""
    shape = packed_shape(examples.judged, form.image_size, form.max_image_size)
    stored = *with_margin(shape[:2], form.crop_margin), shape[2]
    files = {"files": describe_files(examples.judged)}
    if form.shards:
        place = place_of(form.shards, folder / "manifest.csv", shape, form.shard_mb)
        found = write_sharded(
            folder, place, examples, splits, partial(packed_rows, source, shape=shape), shape, form.shard_mb
        )
        return (
            found
            | files
            | {"stored": f"{describe_storage(examples.judged, stored, None)}, training images in shards at {place}"}
        )
    num_encoded = None
    if choose_storage(form.storage, len(splits), stored) == "jpeg":
        num_encoded = write_jpegs(folder, jpeg_files(source, examples, stored[2]), splits)
    else:
        write_pixels(folder, packed_rows(source, examples, stored), splits, stored)
    write_labels(folder, label_indices(examples), splits)
    found = describe_arrays(folder, examples.labels, shape, stored)
    return found | files | {"stored": describe_storage(examples.judged, stored, num_encoded)}
