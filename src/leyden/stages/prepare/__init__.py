"""Read labelled images, judge them, split them, pack them: the later stages read no image file again."""

from contextlib import closing
from pathlib import Path
from typing import Any

from leyden.files import replaced_folder, write_json
from leyden.stages.prepare.candidates import find_candidates
from leyden.stages.prepare.contact import write_contact_sheets
from leyden.stages.prepare.duplicates import find_pairs
from leyden.stages.prepare.examples import Examples, Shape
from leyden.stages.prepare.findings import count_examples, describe_arrays, describe_duplicates, describe_files, describe_storage, summary
from leyden.stages.prepare.judging import Limits
from leyden.stages.prepare.packing import room_for, write_jpegs, write_labels, write_pixels, write_tables
from leyden.stages.prepare.reading import jpeg_files, packed_rows, packed_shape, read_examples
from leyden.stages.prepare.settings import Storage, check_rejected, check_settings, choose_storage, with_margin
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
    storage: Storage = "auto",
    min_image_side: int = 4,
    max_pixels: int = 100_000_000,
    max_rejected_fraction: float = 0.05,
    near_duplicate_distance: int = 6,
    allow_leakage: bool = False,
    num_workers: int | None = None,
) -> None:
    """Read, check, split and pack labelled images.

    Args:
        data: Folder of class folders, also under train/, val/, test/ or in archives; or with a manifest.csv of path,label[,group][,split].
        out: Where manifest.csv, rejected.csv, duplicates.csv, labels.json, report.json, contact sheets and the packed arrays go.
        val_fraction: Share of the examples to validate on, in (0, 1).
        test_fraction: Share of the examples to test on, in (0, 1).
        seed: Decides, with each image's pixels or its group's name, which split it falls in.
        image_size: Height and width in pixels that the model takes; null takes the images' own (their median, where they differ).
        max_image_size: Longest side that the images' own size may lead to, in pixels.
        crop_margin: Factor on the sides of the stored images, 1 or more: training cuts its crops from the larger ones, everything else
            takes their centre.
        storage: pixels, resized once, are read fastest; jpeg keeps the bytes of JPEG files (other formats, and what is not upright grey
            or RGB, are encoded at quality 95), decoded anew for each batch; auto is pixels up to 100 GB of them, else jpeg.
        min_image_side: Shortest side of a usable image, in pixels.
        max_pixels: Most pixels of a usable image; a small file can hold a picture that fills the memory.
        max_rejected_fraction: Share of unusable files above which the stage stops, in [0, 1].
        near_duplicate_distance: Bits of 64 in which near duplicates' hashes may differ, 0 to 15.
        allow_leakage: Pack the user's own splits even where an image or a group lies in two of them.
        num_workers: Processes that decode; null takes all cores where that pays.
    """
    check_settings(val_fraction, test_fraction, crop_margin, near_duplicate_distance, num_workers)
    candidates = find_candidates(data)
    kept_size = with_margin(image_size, crop_margin) if image_size and storage != "jpeg" else None
    limits = Limits(min_image_side, max_pixels, kept_size, 0 if storage == "jpeg" else round(max_image_size * crop_margin) ** 2)
    with room_for(out), replaced_folder(out) as folder, closing(Spool(folder)) as spool:
        examples = read_examples(data, candidates, limits, num_workers, spool)
        check_rejected(examples.rejected, len(candidates), max_rejected_fraction)
        pairs = find_pairs(examples.judged, near_duplicate_distance)
        splits = draw_splits(examples, seed, val_fraction, test_fraction)
        num_leaks = check_leakage(examples.candidates, splits, pairs, allow_leakage)
        write_tables(folder, examples, splits, pairs)
        shape = packed_shape(examples.judged, image_size, max_image_size)
        stored = *with_margin(shape[:2], crop_margin), shape[2]
        counts = count_examples(examples.candidates, splits, examples.labels)
        num_encoded = None
        if choose_storage(storage, len(splits), stored) == "jpeg":
            num_encoded = write_jpegs(folder, jpeg_files(data, examples, max_pixels, num_workers, stored[2]), splits)
        else:
            write_pixels(folder, packed_rows(data, examples, stored, max_pixels, num_workers, spool), splits, stored)
        report = describe(folder, examples, splits, shape, stored) | {
            "counts": counts,
            "stored": describe_storage(examples.judged, stored, num_encoded),
            "duplicates": describe_duplicates(pairs, examples.candidates, splits, num_leaks),
        }
        write_json(folder / "report.json", report)
        write_contact_sheets(folder, folder / "contact", len(examples.labels))
    print(summary(report))


def describe(folder: Path, examples: Examples, splits: list[str], shape: Shape, stored: Shape) -> dict[str, Any]:
    """Write the labels beside the images, and describe what is there now."""
    indices = {label: index for index, label in enumerate(examples.labels)}
    write_labels(folder, [indices[candidate.label] for candidate in examples.candidates], splits)
    write_json(folder / "labels.json", examples.labels)
    arrays = describe_arrays(folder, examples.labels, shape, stored)
    return arrays | {"rejected": len(examples.rejected), "files": describe_files(examples.judged)}
