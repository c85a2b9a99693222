"""Validation, splitting and packing of labelled images or sequences; later stages read only what was packed."""

from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np

from leyden.data.listing import LeftOut
from leyden.data.packed import LABELS, REPORT, SPLITS
from leyden.files import replaced_folder, write_json
from leyden.files.outputs import check_output
from leyden.imaging.images import ImageReader
from leyden.stages.prepare.clues import list_clues
from leyden.stages.prepare.discovery import are_sequences, find_candidates
from leyden.stages.prepare.duplicates import find_duplicates
from leyden.stages.prepare.findings import count_examples, describe_duplicates, summary
from leyden.stages.prepare.images import ImagePacker, PackSettings
from leyden.stages.prepare.layout import warn
from leyden.stages.prepare.packing import report_disk_full, write_tables
from leyden.stages.prepare.pixel_cache import PixelCache
from leyden.stages.prepare.reading import Source
from leyden.stages.prepare.sequences import SequencePacker
from leyden.stages.prepare.settings import Storage, check_rejected, check_settings
from leyden.stages.prepare.shards import check_location, check_shards
from leyden.stages.prepare.splits import assign_splits, check_leakage
from leyden.tasks.targets import TargetSettings


def prepare(
    data: Path = Path("data"),
    out: Path = Path("artifacts/prepare"),
    task: str | None = None,
    class_depth: Literal[1, 2] | None = None,
    units: dict[str, str] = {},
    ignore_value: int = 255,
    val_fraction: float = 0.15,
    test_fraction: float = 0.2,
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
    max_image_size: int = 224,
    crop_margin: float = 1.0,
    storage: Storage = "auto",
    min_image_side: int = 4,
    max_pixels: int = 100_000_000,
    max_rejected_fraction: float = 0.05,
    near_duplicate_distance: int = 6,
    allow_leakage: bool = False,
    num_workers: int | None = None,
    shards: str | None = None,
    shard_mb: float = 64.0,
) -> None:
    """Read, check, split and pack labelled images, or sequences (.npy, .csv) of shape (time steps, features).

    Args:
        data: Folder of class folders, or of images/ and masks/, which may be under train/, val/, test/ or in archives;
            or with a manifest.csv of path, label (or labels, target, target_NAME, mask, grade), and optionally
            group and split.
        out: Folder for manifest.csv, rejected.csv, duplicates.csv, labels.json, report.json, contact sheets and the
            packed arrays.
        task: What is to be predicted (classification, multilabel, regression, segmentation, ordinal); null finds out
            from the data.
        class_depth: 1 if the top folders of data are the classes, 2 if those inside are; null finds out, and refuses
            folders that could be either.
        units: Unit of each regression target by its name, if the name does not end in it: {angle: deg}.
        ignore_value: Value of the pixels of masks that belong to no class.
        val_fraction: Fraction of the examples for validation, in (0, 1).
        test_fraction: Fraction of the examples for the test, in (0, 1).
        seed: Decides, with each image's pixels or its group's name, which split it belongs to; a few of a small class
            are moved, so that it gets about its share of each split.
        image_size: Height and width in pixels that the model takes; null is the images' own size, or its median if they
            differ.
        max_image_size: Largest height and width in pixels if image_size is null.
        crop_margin: Factor on the sides of the stored images, 1 or more: training crops from these, everything else
            uses their centre.
        storage: pixels, resized once, are read fastest; jpeg keeps upright grey or RGB JPEG files as they are (others
            are encoded at quality 95) and decodes them for each batch; auto is pixels up to 100 GB of them, else jpeg.
        min_image_side: Smallest height and width of a usable image, in pixels, also for `leyden predict`.
        max_pixels: Largest number of pixels of a usable image, since a small file can hold an image that fills the
            memory; also for `leyden predict`.
        max_rejected_fraction: Fraction of unusable files above which the stage stops, in [0, 1].
        near_duplicate_distance: Number of the 64 bits in which the hashes of near duplicates may differ, 0 to 15.
        allow_leakage: Pack the user's own splits even if an image or a group is in two of them.
        num_workers: Number of processes that decode; null is all cores if that is faster than one process.
        shards: Folder or URL, for example s3://bucket/name, to write training images to as litdata shards
            (leyden.StreamedImageData) instead of packing them; for data larger than the disk. null packs everything.
        shard_mb: Size of a shard.
    """
    check_output(out, "prepare", [data])
    if shards:
        check_location(shards, [data, out])
    check_settings(
        {"val_fraction": val_fraction, "test_fraction": test_fraction},
        image_size,
        num_workers,
        seed=seed,
        max_image_size=max_image_size,
        crop_margin=crop_margin,
        min_image_side=min_image_side,
        max_pixels=max_pixels,
        max_rejected_fraction=max_rejected_fraction,
        near_duplicate_distance=near_duplicate_distance,
        shard_mb=shard_mb,
    )
    reader = ImageReader(min_image_side, max_pixels, bit_depth=None)
    targets = TargetSettings(units, ignore_value, reader)
    with report_disk_full(out):  # masks are decoded to a temporary file
        candidates, found = find_candidates(data, left_out := LeftOut(), task, class_depth, targets, num_workers)
    if str(left_out):
        warn(f"left out: {left_out}")
    if shards:
        check_shards(shards, crop_margin, storage, candidates, found)
    settings = PackSettings(image_size, max_image_size, crop_margin, storage, shards, shard_mb)
    packer = SequencePacker() if are_sequences(candidates) else ImagePacker(settings)
    with report_disk_full(out), replaced_folder(out, "prepare") as folder, closing(PixelCache(folder)) as cache:
        source = Source(data, num_workers, cache, reader)
        examples, rejected = packer.read(source, candidates, found)
        check_rejected(rejected, len(candidates), max_rejected_fraction)
        duplicates = find_duplicates(examples, near_duplicate_distance)
        texts = [example.label for example in examples]
        assign_splits(examples, found.strata(texts), seed, val_fraction, test_fraction)
        issues = [*found.find_issues(texts), *found.find_leaks(texts, list_clues(examples))]
        for issue in issues:
            warn(issue)
        num_leaks = check_leakage(examples, duplicates.pairs, allow_leakage)
        findings = {
            "counts": count_examples(examples, found),
            "sizes": {split: sum(example.split == split for example in examples) for split in SPLITS},
            "issues": issues,
            "rejected": len(rejected),
            "left_out": left_out.rows(),
            "duplicates": describe_duplicates(duplicates, examples, num_leaks),
        }
        write_tables(folder, examples, rejected, duplicates.pairs)
        write_json(folder / LABELS, found.labels)
        report = packer.pack(folder, source, examples, found) | findings
        fitted = found.fitted(np.load(folder / f"{SPLITS[0]}.targets.npy", mmap_mode="r")) if not shards else found
        report |= {"labels": found.labels, "task": fitted.describe()}
        write_json(folder / REPORT, report)
        packer.draw(folder, found)
    print(summary(report, found))
