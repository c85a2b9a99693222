"""Write what was judged good: packed arrays, and the tables that say where each row came from."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from leyden.data.packed import SPLITS, ArrayWriter, Images
from leyden.errors import DISK_FULL, UserError
from leyden.stages.prepare.duplicates import Pair
from leyden.stages.prepare.examples import Examples
from leyden.stages.prepare.validation import ValidImage

ROWS_PER_BLOCK = 256
MAX_DECODED = 10_000


@contextmanager
def report_disk_full(out: Path) -> Iterator[None]:
    """Say in a line that the disk is full.

    Raises:
        UserError: for the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise UserError(
            f"expected room on disk for {out}; got: {error.strerror}; free some, lower max_image_size or crop_margin, or set storage: jpeg"
        ) from error


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def write_pixels(
    folder: Path,
    rows: Iterable[np.ndarray],
    splits: Sequence[str],
    shape: tuple[int, ...],
    names: Sequence[str] = SPLITS,
) -> None:
    """Write the rows, as they come, to their split's array."""
    with array_writers(folder, "images", shape, names) as writers:
        for row, split in zip(rows, splits, strict=True):
            writers[split].append(row)


def write_jpegs(folder: Path, files: Iterable[tuple[bytes, bool]], splits: Sequence[str]) -> int:
    """Write files' bytes one after the other, and where each begins; gives how many had to be encoded."""
    num_encoded = 0
    offsets = {split: [0] for split in SPLITS}
    with array_writers(folder, "jpeg", ()) as writers:
        for (content, is_encoded), split in zip(files, splits, strict=True):
            writers[split].extend(np.frombuffer(content, np.uint8))
            offsets[split].append(writers[split].num_rows)
            num_encoded += is_encoded
    for split in SPLITS:
        np.save(folder / f"{split}.offsets.npy", np.array(offsets[split], np.int64))
    return num_encoded


@contextmanager
def array_writers(
    folder: Path, kind: str, row_shape: tuple[int, ...], names: Sequence[str] = SPLITS
) -> Iterator[dict[str, ArrayWriter]]:
    """Open an array per split; all are closed at the end, whatever happens."""
    with ExitStack() as stack:
        writers = {split: ArrayWriter(folder / f"{split}.{kind}.npy", row_shape) for split in names}
        for writer in writers.values():
            stack.callback(writer.close)
        yield writers


def write_labels(folder: Path, labels: Sequence[int], splits: Sequence[str], names: Sequence[str] = SPLITS) -> None:
    for split in names:
        np.save(
            folder / f"{split}.labels.npy",
            np.array([label for label, own in zip(labels, splits, strict=True) if own == split], np.int64),
        )


def write_tables(folder: Path, examples: Examples, splits: Sequence[str], pairs: Sequence[Pair]) -> None:
    """Write where each row came from, what was left out, and what occurs twice."""
    files = examples.candidates
    write_table(folder / "rejected.csv", ["path", "reason"], examples.rejected)
    sides = [known.shape[:2] if isinstance(known, ValidImage) else () for known in examples.judged]  # of images alone
    columns = ["path", "label", "split", "sha256", "group", *(["height", "width"] if any(sides) else [])]
    found = zip(files, splits, examples.judged, sides, strict=True)
    rows = ((file.path, file.label, split, known.digest, file.group, *side) for file, split, known, side in found)
    write_table(folder / "manifest.csv", columns, rows)
    doubles = (
        (
            kind,
            files[second].path,
            files[first].path,
            files[second].label,
            files[first].label,
            splits[second],
            splits[first],
        )
        for kind, first, second in pairs
    )
    write_table(
        folder / "duplicates.csv", ["kind", "path", "other", "label", "other_label", "split", "other_split"], doubles
    )


def channel_statistics(images: Images) -> tuple[list[float], list[float]]:
    """Compute the mean and deviation per channel of images uint8 (N, H, W, C), in [0, 1], with exact sums.

    Of JPEG files at most 10,000 are decoded for it, evenly spread: the mean of so many is known to a thousandth.
    """
    count, *_, channels = images.shape
    step = 1 if isinstance(images, np.ndarray) else -(-count // MAX_DECODED)
    levels = np.zeros((channels, 256), np.int64)
    for start in range(0, count, step * ROWS_PER_BLOCK):
        levels += count_levels(images[start : start + step * ROWS_PER_BLOCK : step])
    return statistics_of(levels)


def count_levels(images: np.ndarray) -> np.ndarray:
    """Count how often each channel of images uint8 (..., C) has each value: (C, 256)."""
    channels = images.shape[-1]
    pixels = images.reshape(-1, channels)
    return np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(channels)])


def statistics_of(levels: np.ndarray) -> tuple[list[float], list[float]]:
    """Give the mean and deviation per channel, in [0, 1], of pixels counted by channel and value (C, 256)."""
    totals = np.stack([levels @ np.arange(256), levels @ np.arange(256) ** 2])
    mean, square = totals / max(1, levels[0].sum()) / np.array([[255.0], [255.0**2]])
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-6))
    return [round(value, 6) for value in mean.tolist()], [round(value, 6) for value in deviation.tolist()]
