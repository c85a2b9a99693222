"""Sequences of any length: their reader, shared by preparation and prediction, and their packed form; numpy only."""

import codecs
import csv
import io
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from leyden.errors import one_line
from leyden.files.arrays import load_array, load_targets

SUFFIXES = frozenset({".csv", ".npy"})
MAX_VALUES = 250_000_000  # 1 GB as float32
NPY_MAGIC = b"\x93NUMPY"
NOT_SPACE = re.compile(rb"\S")


class UnreadableSequenceError(Exception):
    """A file is not a usable sequence; the message is a short reason."""


class Padded(NamedTuple):
    """A batch of sequences: values float32 (B, T, F), zero after each one's end; lengths int64 (B,)."""

    values: np.ndarray
    lengths: np.ndarray


class Sequences:
    """Sequences concatenated in one memory-mapped array; indexing returns a padded batch."""

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        """Wrap the arrays.

        Args:
            values: float32 (sum of lengths, F).
            offsets: int64 (N + 1,), start of each sequence, and the end of the last one.
        """
        self.values, self.offsets = values, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Time steps of each sequence, int64 (N,)."""
        return np.diff(self.offsets)

    def __getitem__(self, rows: slice | np.ndarray) -> Padded:
        indices = np.arange(len(self))[rows]
        if not len(indices):  # the last batch of a split may have fewer examples than there are processes
            return Padded(np.zeros((0, 1, self.values.shape[1]), np.float32), np.zeros(0, np.int64))
        return pad([self.values[self.offsets[index] : self.offsets[index + 1]] for index in indices])


class SequenceSplit(NamedTuple):
    """One split: its sequences; targets (N, ...) in the form of the task."""

    sequences: Sequences
    targets: np.ndarray


def read_sequence_split(folder: Path, split: str) -> SequenceSplit:
    """Open one split without reading its values."""
    values = load_array(folder / f"{split}.values.npy", 2, "r")
    sequences = Sequences(values, load_array(folder / f"{split}.offsets.npy", 1))
    return SequenceSplit(sequences, load_targets(folder, split, len(sequences)))


def pad(sequences: list[np.ndarray]) -> Padded:
    """Stack sequences (T, F) of any length; shorter ones are padded with zeros at their end."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    values = np.zeros((len(sequences), int(lengths.max()), sequences[0].shape[1]), np.float32)
    for row, sequence in zip(values, sequences, strict=True):
        row[: len(sequence)] = sequence
    return Padded(values, lengths)


def read_sequence(content: bytes) -> tuple[np.ndarray, str]:
    """Read a .npy or .csv file; the content decides which it is.

    Returns:
        The values float32 (T, F), with F = 1 if the file holds one number per step; and the file's type.

    Raises:
        UnreadableSequenceError: if it is damaged, not numeric, of a different shape, empty, too large, or holds values
            outside float32.
    """
    try:
        return parse_sequence(content)
    except MemoryError as error:
        raise UnreadableSequenceError("not enough memory to read it") from error


def parse_sequence(content: bytes) -> tuple[np.ndarray, str]:
    if content.startswith(NPY_MAGIC):
        array = read_npy(content)
        file_type = str(array.dtype)
    else:
        array, file_type = read_csv(content), "csv"
    check_shape(array.shape)
    if array.ndim == 1:
        array = array[:, None]
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(values).all():
        step = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise UnreadableSequenceError(f"step {step} holds NaN, an infinity, or a number beyond float32")
    return values, file_type


def check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) not in (1, 2) or min(shape) < 1:
        raise UnreadableSequenceError(f"shape {str(shape)[:80]}, where (time steps, features) is expected")


def read_npy(content: bytes) -> np.ndarray:
    """Read an array; its header is checked against the file's size, and pickled objects are never loaded."""
    try:
        file = io.BytesIO(content)
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file)
    except Exception as error:  # the header is Python code, which is parsed but not run: too many kinds to list
        raise UnreadableSequenceError(f"damaged .npy header: {one_line(error)}") from error
    if dtype.kind not in "fiub":
        raise UnreadableSequenceError(f"values of type {str(dtype)[:80]}, where numbers are expected")
    check_shape(shape)
    start, count = file.tell(), math.prod(shape)
    if len(content) - start < count * dtype.itemsize:
        raise UnreadableSequenceError(f"truncated: {len(content) - start:,} of {count * dtype.itemsize:,} bytes")
    if count > MAX_VALUES:
        raise UnreadableSequenceError(f"more than {MAX_VALUES:,} values")
    return np.frombuffer(content, dtype, count, start).reshape(shape, order="F" if fortran_order else "C")


def read_csv(content: bytes) -> np.ndarray:
    """Read rows of numbers, with or without a header; the delimiter is a comma, a semicolon or a tab.

    The text is decoded line by line: as a whole, with its lines, it would take five times the memory of the file.
    """
    content = content.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    try:
        end = content.find(b"\n")
        first_line = content[: end if end >= 0 else len(content)].decode()
        delimiter = max(",;\t", key=first_line.count)
        if content.count(delimiter.encode()) + content.count(b"\n") > MAX_VALUES:
            raise UnreadableSequenceError(f"more than {MAX_VALUES:,} values")
        header_lines = int(is_header(next(csv.reader([first_line], delimiter=delimiter), [])))
        if not NOT_SPACE.search(content, len(first_line.encode()) * header_lines):
            raise UnreadableSequenceError("no row of numbers")
        lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
        return np.loadtxt(lines, np.float64, comments=None, delimiter=delimiter, skiprows=header_lines, ndmin=2)
    except UnicodeDecodeError as error:
        raise UnreadableSequenceError("neither .npy nor text in UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise UnreadableSequenceError(one_line(error, 100)) from error


def is_header(cells: list[str]) -> bool:
    """Return whether a first line holds names; those of numbered columns, such as `,0,1`, follow a blank cell.

    Raises:
        ValueError: if it holds numbers and other texts: left out as a header, it may be a step with a missing value.
    """
    are_numbers = [is_number(cell) for cell in cells]
    if any(are_numbers) and not all(are_numbers) and cells[0].strip():
        raise ValueError(f"the first line has numbers and {cells[are_numbers.index(False)][:40]!r}")
    return not all(are_numbers)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
