"""Writing of packed arrays, and of the tables that describe their rows."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from leyden.data.packed import DUPLICATES, MANIFEST, REJECTED, SPLITS, ArrayWriter, Images
from leyden.errors import DISK_FULL, UserError
from leyden.files.tables import write_table
from leyden.stages.prepare.duplicates import Pair
from leyden.stages.prepare.examples import Example, RejectedFile
from leyden.stages.prepare.validation import ValidImage
from leyden.tasks.targets import TargetFile
from leyden.tasks.task import Task

ROWS_PER_BLOCK = 256
MAX_DECODED = 10_000
IMAGE_COLUMNS = ("path", "label", "split", "sha256", "group", "height", "width")  # of the manifest
SEQUENCE_COLUMNS = IMAGE_COLUMNS[:5]
DUPLICATE_COLUMNS = ("kind", "path", "other", "label", "other_label", "split", "other_split")


@contextmanager
def report_disk_full(out: Path) -> Iterator[None]:
    """Convert the error of a full disk to a `UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise UserError(
            f"expected enough disk space for {out}; got: {error.strerror}; free some, lower max_image_size or "
            "crop_margin, or set storage: jpeg"
        ) from error


def write_pixels(
    folder: Path,
    rows: Iterable[np.ndarray],
    examples: Sequence[Example],
    shape: tuple[int, ...],
    splits: Sequence[str] = SPLITS,
) -> None:
    """Write each example's row to the array of its split."""
    with array_writers(folder, "images", shape, splits) as writers:
        for row, example in zip(rows, examples, strict=True):
            writers[example.split].append(row)


def write_jpegs(folder: Path, files: Iterable[tuple[bytes, bool]], examples: Sequence[Example]) -> int:
    """Write each split's concatenated files and their offsets; return how many files had to be encoded."""
    num_encoded = 0
    offsets = {split: [0] for split in SPLITS}
    with array_writers(folder, "jpeg", ()) as writers:
        for (content, is_encoded), example in zip(files, examples, strict=True):
            writer = writers[example.split]
            writer.extend(np.frombuffer(content, np.uint8))
            offsets[example.split].append(writer.num_rows)
            num_encoded += is_encoded
    for split in SPLITS:
        np.save(folder / f"{split}.offsets.npy", np.array(offsets[split], np.int64))
    return num_encoded


@contextmanager
def array_writers(
    folder: Path, kind: str, row_shape: tuple[int, ...], splits: Sequence[str] = SPLITS, dtype: str = "uint8"
) -> Iterator[dict[str, ArrayWriter]]:
    """Open an array for each split; all are closed at the end, also after an error."""
    with ExitStack() as stack:
        writers = {split: ArrayWriter(folder / f"{split}.{kind}.npy", row_shape, dtype) for split in splits}
        for writer in writers.values():
            stack.callback(writer.close)
        yield writers


def write_targets(
    folder: Path,
    examples: Sequence[Example],
    task: Task,
    stored_size: tuple[int, int] = (1, 1),
    splits: Sequence[str] = SPLITS,
) -> None:
    """Write each example's target to the array of its split; `stored_size` is the images' height and width."""
    with array_writers(folder, "targets", task.target_shape(stored_size), splits, task.dtype) as writers:
        for example in examples:
            if example.split in splits:
                file = TargetFile(example.content.shape[:2], stored_size)
                writers[example.split].append(task.encode(example.label, file))


def write_tables(
    folder: Path, examples: Sequence[Example], rejected: Sequence[RejectedFile], pairs: Sequence[Pair]
) -> None:
    """Write where each row came from, which files were rejected, and which examples are duplicates."""
    write_table(folder / REJECTED, (file._asdict() for file in rejected), RejectedFile._fields)
    columns = IMAGE_COLUMNS if isinstance(examples[0].content, ValidImage) else SEQUENCE_COLUMNS
    write_table(folder / MANIFEST, map(manifest_row, examples), columns)
    duplicates = (duplicate_row(pair.kind, examples[pair.second], examples[pair.first]) for pair in pairs)
    write_table(folder / DUPLICATES, duplicates, DUPLICATE_COLUMNS)


def manifest_row(example: Example) -> dict[str, Any]:
    identity = example.path, example.label, example.split, example.content.digest, example.candidate.group
    return dict(zip(IMAGE_COLUMNS, (*identity, *example.content.shape[:2]), strict=True))


def duplicate_row(kind: str, example: Example, other: Example) -> dict[str, str]:
    values = (kind, example.path, other.path, example.label, other.label, example.split, other.split)
    return dict(zip(DUPLICATE_COLUMNS, values, strict=True))


def channel_statistics(images: Images) -> tuple[list[float], list[float]]:
    """Compute the mean and standard deviation per channel of images uint8 (N, H, W, C), in [0, 1], from exact sums.

    At most 10,000 JPEG files are decoded for it, evenly spaced: the mean of that many is accurate to a thousandth.
    """
    count, *_, channels = images.shape
    step = 1 if isinstance(images, np.ndarray) else -(-count // MAX_DECODED)
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, count, step * ROWS_PER_BLOCK):
        counts += count_values(images[start : start + step * ROWS_PER_BLOCK : step])
    return statistics_of_counts(counts)


def count_values(images: np.ndarray) -> np.ndarray:
    """Count how often each channel of images uint8 (..., C) has each value: (C, 256)."""
    channels = images.shape[-1]
    pixels = images.reshape(-1, channels)
    return np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(channels)])


def statistics_of_counts(counts: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation per channel, in [0, 1], of pixels counted by value (C, 256)."""
    totals = np.stack([counts @ np.arange(256), counts @ np.arange(256) ** 2])
    mean, square = totals / max(1, counts[0].sum()) / np.array([[255.0], [255.0**2]])
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-6))
    return [round(value, 6) for value in mean.tolist()], [round(value, 6) for value in deviation.tolist()]
