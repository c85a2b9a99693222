"""The folder that `leyden prepare` writes: tables, and .npy files for each split, which later stages memory-map.

Images are `<split>.images.npy` (pixels), or `<split>.jpeg.npy` with `<split>.offsets.npy` (JPEG files); sequences are
`<split>.values.npy` and `<split>.offsets.npy`. `<split>.targets.npy` are the targets of either.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leyden.data.jpeg import Box, JpegImages
from leyden.data.sequences import SequenceSplit, read_sequence_split
from leyden.errors import UserError
from leyden.files import read_json
from leyden.files.arrays import load_array, load_targets
from leyden.files.tables import read_columns
from leyden.tasks import load_task
from leyden.tasks.task import Task
from leyden.trust.description import are_labels, is_input, is_list_of

SPLITS = ("train", "val", "test")
MANIFEST = "manifest.csv"  # where each row came from
REJECTED = "rejected.csv"  # unusable files
DUPLICATES = "duplicates.csv"
LABELS = "labels.json"
REPORT = "report.json"
Images = np.ndarray | JpegImages  # uint8 (N, H, W, C), indexed by rows: a memory map, or decoded when indexed


class Split(NamedTuple):
    """One split: images uint8 (N, H, W, C) as the model takes them; targets (N, ...) in the form of the task."""

    images: Images
    targets: np.ndarray


def read_report(folder: Path) -> dict[str, Any]:
    """Read the description of the data: `labels`, `task`, `input`, `stored_size`, `data_hash`, counts.

    Raises:
        UserError: if the folder was not prepared, or an entry is missing or invalid.
    """
    report = read_json(path := Path(folder) / REPORT, "prepare")
    entries = report if isinstance(report, dict) else {}
    invalid = next((key for key, is_valid in CHECKS.items() if not is_valid(entries.get(key))), None)
    if not invalid and any(entries["counts"][split].keys() != set(entries["labels"]) for split in SPLITS):
        invalid = "counts"
    if invalid:
        raise UserError(
            f"expected a description of prepared data in {path}; its entry {invalid!r} is missing or invalid: another "
            "version wrote it, or it was edited; run `leyden prepare` again"
        )
    return report


def are_counts(value: Any) -> bool:
    """Return whether a value holds the number of examples with each label, by split and label."""
    counts = [value.get(split) for split in SPLITS] if isinstance(value, dict) else [None]
    return all(isinstance(each, dict) and is_list_of(int, list(each.values()), above=-1) for each in counts)


CHECKS: dict[str, Callable[[Any], bool]] = {  # of the entries that other stages rely on
    "labels": are_labels,
    "task": lambda value: value is None or (isinstance(value, dict) and isinstance(value.get("name"), str)),
    "sizes": lambda value: value is None or (isinstance(value, dict) and value.keys() >= set(SPLITS)),
    "input": is_input,
    "counts": are_counts,
    "data_hash": lambda value: isinstance(value, str),
    "files": lambda value: isinstance(value, dict),
    "stored": lambda value: isinstance(value, str),
    "bytes": lambda value: is_list_of(int, [value]),
    "stored_size": lambda value: value is None or is_list_of(int, value, length=2, above=0),
    "duplicates": lambda value: value is None or isinstance(value, dict),
}


def read_examples(folder: Path, split: str) -> Split | SequenceSplit:
    """Open one split of images or sequences.

    Raises:
        UserError: if the folder was not prepared.
    """
    if (Path(folder) / f"{split}.values.npy").is_file():
        read = read_sequence_split(Path(folder), split)
        check_targets(read.targets, load_task(read_report(folder)), (), folder)
        return read
    return read_split(folder, split)


def read_split(folder: Path, split: str) -> Split:
    """Open one split of images without reading their pixels; images stored with a margin are cropped to their centre.

    Raises:
        UserError: if the folder was not prepared, or holds sequences.
    """
    report = read_report(folder)
    if "image_size" not in report["input"]:
        raise UserError(
            f"expected images; {folder} holds sequences, which are not supported here; name a folder of prepared images"
        )
    size = report["input"]["image_size"]
    stored_size = report.get("stored_size", size)
    top, left = ((stored - side) // 2 for stored, side in zip(stored_size, size, strict=True))
    images = open_images(folder, split, stored_size, report["input"]["channels"], [top, left, *size])
    targets = load_targets(Path(folder), split, len(images))
    check_targets(targets, task := load_task(report), stored_size, folder)
    if task.is_dense:
        targets = targets[:, top : top + size[0], left : left + size[1]]
    return Split(images, targets)


def check_targets(targets: np.ndarray, task: Task, stored_size: Sequence[int], folder: str | Path) -> None:
    """Check that packed targets are in the form of the task that the report names.

    Raises:
        UserError: if they are of another type or shape.
    """
    height, width = stored_size or (0, 0)
    if targets.dtype != task.dtype or targets.shape[1:] != task.target_shape((height, width)):
        raise UserError(
            f"expected targets of {task.name} in {folder}; got {targets.dtype} {targets.shape}; its report.json was "
            "edited or is of other data; run `leyden prepare` again"
        )


def open_images(
    folder: Path, split: str, stored_size: Sequence[int], channels: int, window: Box | None = None
) -> Images:
    """Open a split's images as they are stored, each cropped to `window`.

    Raises:
        UserError: if the folder was not prepared.
    """
    pixels, content = Path(folder) / f"{split}.images.npy", Path(folder) / f"{split}.jpeg.npy"
    # mmap_mode "c" (copy on write): torch requires writable memory, and the file must not change.
    if content.is_file():
        offsets = load_array(Path(folder) / f"{split}.offsets.npy", 1)
        return JpegImages(load_array(content, 1, "c"), offsets, stored_size, channels, window)
    if split == "train" and not pixels.is_file() and "shards" in read_report(folder):
        raise UserError(
            f"expected packed training images in {folder}; they are in shards; "
            "set data.class_path to leyden.StreamedImageData"
        )
    top, left, height, width = window or (0, 0, *stored_size)
    return load_array(pixels, 4, "c")[:, top : top + height, left : left + width]


def read_paths(folder: Path, split: str) -> list[str]:
    """Return the file that each row of a split came from.

    Raises:
        UserError: if the folder was not prepared.
    """
    rows = read_columns(Path(folder) / MANIFEST, "prepare", ["path", "split"])
    return [path for path, row_split in rows if row_split == split]


class ArrayWriter:
    """Appends rows to a .npy file whose length is not known in advance, with bounded memory."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: str = "uint8") -> None:
        self._file = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._row_shape, self._dtype = row_shape, np.dtype(dtype)
        self.num_rows = 0
        self._write_header()

    def append(self, row: np.ndarray) -> None:
        self.extend(row[None])

    def extend(self, rows: np.ndarray) -> None:
        assert rows.shape[1:] == self._row_shape and rows.dtype == self._dtype, (rows.shape, rows.dtype)
        self._file.write(np.ascontiguousarray(rows).data)
        self.num_rows += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        # numpy pads the header for growth along the first axis: the final header is as long as the first one.
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.num_rows, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
