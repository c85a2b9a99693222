"""Read labelled images or sequences, judge them, split them, pack them: the later stages read none of their files again."""

from contextlib import closing
from functools import partial
from pathlib import Path

from leyden.data.packed import SPLITS
from leyden.files import replaced_folder, write_json
from leyden.files.outputs import check_output
from leyden.stages.prepare.contact import write_contact_sheets
from leyden.stages.prepare.discovery import are_sequences, find_candidates
from leyden.stages.prepare.duplicates import find_pairs
from leyden.stages.prepare.findings import count_examples, describe_duplicates, summary
from leyden.stages.prepare.images import Form, pack_images
from leyden.stages.prepare.packing import report_disk_full, write_tables
from leyden.stages.prepare.pixel_cache import PixelCache
from leyden.stages.prepare.reading import Source, read_examples
from leyden.stages.prepare.sequences import judge_sequences, pack_sequences, reject_other_widths
from leyden.stages.prepare.settings import Storage, check_rejected, check_settings, pixels_to_keep
from leyden.stages.prepare.shards import HELD_OUT_SPLITS, SAMPLE, check_place, check_shards, drop_sample
from leyden.stages.prepare.splits import check_leakage, draw_splits
from leyden.stages.prepare.validation import Limits, judge


def prepare(
    data: Path = Path("data"),
    out: Path = Path("artifacts/prepare"),
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
        data: Folder of class folders, also under train/, val/, test/ or in archives; or with a manifest.csv of path,label[,group][,split].
        out: Where manifest.csv, rejected.csv, duplicates.csv, labels.json, report.json, contact sheets and the packed arrays go.
        val_fraction: Share of the examples to validate on, in (0, 1).
        test_fraction: Share of the examples to test on, in (0, 1).
        seed: Decides, with each image's pixels or its group's name, which split it falls in.
        image_size: Height and width in pixels that the model takes; null takes the images' own (their median, where they differ).
        max_image_size: Longest side that the images' own size may lead to, in pixels.
        crop_margin: Factor on the sides of the stored images, 1 or more: training cuts its crops from these, all else takes their centre.
        storage: pixels, resized once, are read fastest; jpeg keeps the bytes of upright grey or RGB JPEG files (all others are encoded
            at quality 95), decoded anew for each batch; auto is pixels up to 100 GB of them, else jpeg.
        min_image_side: Shortest side of a usable image, in pixels.
        max_pixels: Most pixels of a usable image; a small file can hold a picture that fills the memory.
        max_rejected_fraction: Share of unusable files above which the stage stops, in [0, 1].
        near_duplicate_distance: Bits of 64 in which near duplicates' hashes may differ, 0 to 15.
        allow_leakage: Pack the user's own splits even where an image or a group lies in two of them.
        num_workers: Processes that decode; null takes all cores where that pays.
        shards: Folder or URL, s3://bucket/name say, for the training images as litdata shards (leyden.StreamedImageData), which
            then are not packed; for data larger than the disk. null packs all.
        shard_mb: Size of a shard.
    """
    check_output(out, "prepare", [data])
    if shards:
        check_place(shards, [data, out])
    check_settings(val_fraction, test_fraction, crop_margin, near_duplicate_distance, num_workers)
    candidates = find_candidates(data)
    sequential = are_sequences(candidates)
    image_size = None if sequential else image_size
    limits = Limits(min_image_side, max_pixels, *pixels_to_keep(storage, image_size, max_image_size, crop_margin))
    if shards:
        check_shards(shards, shard_mb, crop_margin, storage, candidates)
        limits = limits._replace(image_size=None, max_kept_pixels=0)  # nothing waits on the disk: it may be too small
    with report_disk_full(out), replaced_folder(out, "prepare") as folder, closing(PixelCache(folder)) as spool:
        source = Source(data, num_workers, spool, max_pixels)
        examples = read_examples(
            source, candidates, judge_sequences if sequential else partial(judge, limits), limits.image_size
        )
        if sequential:
            reject_other_widths(examples)
        check_rejected(examples.rejected, len(candidates), max_rejected_fraction)
        pairs = find_pairs(examples.judged, near_duplicate_distance)
        splits = draw_splits(examples, seed, val_fraction, test_fraction)
        num_leaks = check_leakage(examples.candidates, splits, pairs, allow_leakage)
        write_tables(folder, examples, splits, pairs)
        write_json(folder / "labels.json", examples.labels)
        findings = {
            "counts": count_examples(examples.candidates, splits, examples.labels),
            "rejected": len(examples.rejected),
            "duplicates": describe_duplicates(pairs, examples.candidates, splits, num_leaks),
        }
        if sequential:
            report = pack_sequences(folder, examples, splits, spool)
        else:
            form = Form(image_size, max_image_size, crop_margin, storage, shards, shard_mb)
            report = pack_images(folder, examples, splits, source, form)
        write_json(folder / "report.json", report | findings)
        if not sequential:
            write_contact_sheets(
                folder, folder / "contact", len(examples.labels), (SAMPLE, *HELD_OUT_SPLITS) if shards else SPLITS
            )
            drop_sample(folder)
    print(summary(report | findings))
