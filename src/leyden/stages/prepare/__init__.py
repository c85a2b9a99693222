"""Read labelled images, judge them, split them, pack them: the later stages read no image file again."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from leyden.files import replaced_folder, write_json
from leyden.stages.prepare.candidates import find_candidates
from leyden.stages.prepare.contact import write_contact_sheets
from leyden.stages.prepare.duplicates import find_pairs
from leyden.stages.prepare.examples import Examples, Shape, label_indices
from leyden.stages.prepare.findings import count_examples, describe_arrays, describe_duplicates, describe_files, storage, summary
from leyden.stages.prepare.judging import Limits
from leyden.stages.prepare.packing import room_for, write_arrays, write_tables
from leyden.stages.prepare.reading import packed_rows, packed_shape, read_examples
from leyden.stages.prepare.settings import check_rejected, check_settings
from leyden.stages.prepare.shards import Reader, check_shards, place_of, write_sharded
from leyden.stages.prepare.splits import check_leakage, draw_splits
from leyden.stages.prepare.spool import Spool


def prepare(
    data: Path = Path("data"),
    out: Path = Path("artifacts/prepare"),
    val_fraction: float = 0.15,
    test_fraction: float = 0.2,
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
    max_image_size: int = 224,
    crop_margin: float = 1.0,
    min_image_side: int = 4,
    max_pixels: int = 100_000_000,
    max_rejected_fraction: float = 0.05,
    near_duplicate_distance: int = 6,
    allow_leakage: bool = False,
    num_workers: int | None = None,
    shards: str | None = None,
    shard_mb: float = 64.0,
) -> None:
    """Read, check, split and pack labelled images.

    Args:
        data: Folder of class folders, also under train/, val/, test/ or in archives; or with a manifest.csv of path,label[,group][,split].
        out: Where manifest.csv, rejected.csv, duplicates.csv, labels.json, report.json, contact sheets and the packed arrays go.
        val_fraction: Share of the examples to validate on, in (0, 1).
        test_fraction: Share of the examples to test on, in (0, 1).
        seed: Decides, with each image's pixels or its group's name, which split it falls in.
        image_size: Height and width in pixels of the packed images; null takes the images' own (their median, where they differ).
        max_image_size: Longest side that the images' own size may lead to, in pixels.
        crop_margin: Factor of that longest side, 1 or more, so that training can cut crops from larger images.
        min_image_side: Shortest side of a usable image, in pixels.
        max_pixels: Most pixels of a usable image; a small file can hold a picture that fills the memory.
        max_rejected_fraction: Share of unusable files above which the stage stops, in [0, 1].
        near_duplicate_distance: Bits of 64 in which near duplicates' hashes may differ, 0 to 15.
        allow_leakage: Pack the user's own splits even where an image or a group lies in two of them.
        num_workers: Processes that decode; null takes all cores where that pays.
        shards: Folder or URL (s3://bucket/name) for the training images as litdata shards, for data larger than the disk; null packs them.
        shard_mb: Size of a shard.
    """
    check_settings(val_fraction, test_fraction, crop_margin, near_duplicate_distance, num_workers)
    candidates = find_candidates(data)
    limits = Limits(min_image_side, max_pixels, image_size, round(max_image_size * crop_margin) ** 2)
    if shards:
        check_shards(shards, shard_mb, candidates)
        limits = limits._replace(image_size=None, max_kept_pixels=0)  # nothing waits on the disk: it may be too small
    with room_for(out), replaced_folder(out) as folder, closing(Spool(folder)) as spool:
        examples = read_examples(data, candidates, limits, num_workers, spool)
        check_rejected(examples.rejected, len(candidates), max_rejected_fraction)
        pairs = find_pairs(examples.judged, near_duplicate_distance)
        splits = draw_splits(examples, seed, val_fraction, test_fraction)
        num_leaks = check_leakage(examples.candidates, splits, pairs, allow_leakage)
        write_tables(folder, examples, splits, pairs)
        shape = packed_shape(examples.judged, image_size, max_image_size, crop_margin)
        read = partial(packed_rows, data, shape=shape, max_pixels=max_pixels, num_workers=num_workers, spool=spool)
        report = pack(folder, examples, splits, read, shape, shards, shard_mb)
        report["duplicates"] = describe_duplicates(pairs, examples.candidates, splits, num_leaks)
        write_json(folder / "report.json", report)
    print(summary(report))


def pack(folder: Path, examples: Examples, splits: list[str], read: Reader, shape: Shape, shards: str | None, shard_mb: float) -> dict[str, Any]:
    """Write arrays or shards, labels and contact sheets, and describe them."""
    counts = count_examples(examples.candidates, splits, examples.labels)
    stored = storage(examples.judged, shape)
    if shards:
        place = place_of(shards, folder / "manifest.csv", shape, shard_mb)
        found = write_sharded(folder, place, examples, splits, read, shape, shard_mb)
        stored = f"{stored}, training images in shards at {place}"
    else:
        write_arrays(folder, read(examples), splits, label_indices(examples), shape)
        write_contact_sheets(folder, folder / "contact", len(examples.labels))
        found = describe_arrays(folder, examples.labels)
    write_json(folder / "labels.json", examples.labels)
    return found | {"counts": counts, "rejected": len(examples.rejected), "files": describe_files(examples.judged), "stored": stored}
