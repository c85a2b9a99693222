"""Write what was judged good: packed arrays, and the tables that say where each row came from."""

import csv
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from leyden.data.packed import SPLITS, ArrayWriter
from leyden.errors import UserError
from leyden.stages.prepare.duplicates import Pair
from leyden.stages.prepare.examples import Examples

ROWS_PER_BLOCK = 1024


@contextmanager
def room_for(out: Path) -> Iterator[None]:
    """Say in a line that the disk is full.

    Raises:
        UserError: for the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"expected room on disk for {out}; got: {error.strerror}; free some, or lower max_image_size") from error


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def write_arrays(
    folder: Path, rows: Iterable[np.ndarray], splits: Sequence[str], labels: Sequence[int], shape: tuple[int, ...], names: Sequence[str] = SPLITS
) -> None:
    """Write the rows, as they come, to their split's array, and the labels beside them."""
    with ExitStack() as stack:
        writers = {split: ArrayWriter(folder / f"{split}.images.npy", shape) for split in names}
        for writer in writers.values():
            stack.callback(writer.close)
        for row, split in zip(rows, splits, strict=True):
            writers[split].append(row)
    for split in names:
        np.save(folder / f"{split}.labels.npy", np.array([label for label, own in zip(labels, splits, strict=True) if own == split], np.int64))


def write_tables(folder: Path, examples: Examples, splits: Sequence[str], pairs: Sequence[Pair]) -> None:
    """Write where each row came from, what was left out, and what occurs twice."""
    files = examples.candidates
    write_table(folder / "rejected.csv", ["path", "reason"], examples.rejected)
    rows = ((file.path, file.label, split, image.digest, file.group) for file, split, image in zip(files, splits, examples.judged, strict=True))
    write_table(folder / "manifest.csv", ["path", "label", "split", "sha256", "group"], rows)
    doubles = (
        (kind, files[second].path, files[first].path, files[second].label, files[first].label, splits[second], splits[first])
        for kind, first, second in pairs
    )
    write_table(folder / "duplicates.csv", ["kind", "path", "other", "label", "other_label", "split", "other_split"], doubles)


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Compute the mean and deviation per channel of images uint8 (N, H, W, C), in [0, 1], with exact sums."""
    levels = np.zeros((images.shape[3], 256), np.int64)
    for start in range(0, len(images), ROWS_PER_BLOCK):
        levels += count_levels(np.asarray(images[start : start + ROWS_PER_BLOCK]))
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
