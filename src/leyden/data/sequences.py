"""Sequences of any length: the one reader for preparation and prediction, and the packed form, numpy alone."""

import csv
import io
import math
import tokenize
from pathlib import Path
from typing import NamedTuple

import numpy as np

SUFFIXES = frozenset({".csv", ".npy"})
NPY_MAGIC = b"\x93NUMPY"


class UnreadableSequenceError(Exception):
    """Why a file is no usable sequence, in a few words."""


class Padded(NamedTuple):
    """A batch of sequences: values float32 (B, T, F), zero behind each one's end; lengths int64 (B,)."""

    values: np.ndarray
    lengths: np.ndarray


class Sequences:
    """Sequences that lie one after the other in one array, memory-mapped; an index gives them as a padded batch."""

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        """Lay a view over them.

        Args:
            values: float32 (sum of lengths, F).
            offsets: int64 (N + 1,), where each one starts, and the end.
        """
        self.values, self.offsets = values, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Time steps of each, int64 (N,)."""
        return np.diff(self.offsets)

    def __getitem__(self, rows: slice | np.ndarray) -> Padded:
        numbers = np.arange(len(self))[rows]
        if not len(numbers):  # the last examples of a split may not go round all processes
            return Padded(np.zeros((0, 1, self.values.shape[1]), np.float32), np.zeros(0, np.int64))
        return pad([self.values[self.offsets[number] : self.offsets[number + 1]] for number in numbers])


class SequenceSplit(NamedTuple):
    """One split: its sequences; labels int64 (N,)."""

    sequences: Sequences
    labels: np.ndarray


def read_sequence_split(folder: Path, split: str) -> SequenceSplit:
    """Open one split without reading its values."""
    values = np.load(folder / f"{split}.values.npy", mmap_mode="r")
    sequences = Sequences(values, np.load(folder / f"{split}.offsets.npy"))
    return SequenceSplit(sequences, np.load(folder / f"{split}.labels.npy"))


def pad(sequences: list[np.ndarray]) -> Padded:
    """Lay sequences (T, F) of any length side by side, zeros behind the shorter ones."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    values = np.zeros((len(sequences), int(lengths.max()), sequences[0].shape[1]), np.float32)
    for row, sequence in zip(values, sequences, strict=True):
        row[: len(sequence)] = sequence
    return Padded(values, lengths)


def read_sequence(content: bytes) -> tuple[np.ndarray, str]:
    """Read a .npy or .csv file, told apart by its content.

    Returns:
        The values float32 (T, F), a single column where the file holds one number per step; and the type that the file had.

    Raises:
        UnreadableSequenceError: if it is damaged, not numbers, of another shape, empty, or holds a value that float32 does not.
    """
    array = read_npy(content) if content.startswith(NPY_MAGIC) else read_csv(content)
    kind = "csv" if not content.startswith(NPY_MAGIC) else str(array.dtype)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise UnreadableSequenceError(f"shape {array.shape}, where (time steps, features) is expected")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(values).all():
        step = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise UnreadableSequenceError(f"step {step} holds NaN, an infinity, or a number beyond float32")
    return values, kind


def read_npy(content: bytes) -> np.ndarray:
    """Read an array whose header is believed only as far as the file goes; pickled objects are never loaded."""
    try:
        file = io.BytesIO(content)
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = header(file)
    except (ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise UnreadableSequenceError(f"damaged .npy header: {' '.join(str(error).split())[:80]}") from error
    if dtype.kind not in "fiub":
        raise UnreadableSequenceError(f"values of type {dtype}, where numbers are expected")
    start, count = file.tell(), math.prod(shape)
    if len(content) - start < count * dtype.itemsize:
        raise UnreadableSequenceError(f"truncated: {len(content) - start:,} of {count * dtype.itemsize:,} bytes")
    return np.frombuffer(content, dtype, count, start).reshape(shape, order="F" if fortran_order else "C")


def read_csv(content: bytes) -> np.ndarray:
    """Read rows of numbers, with or without a row of names; the delimiter is a comma, a semicolon or a tab."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableSequenceError("neither .npy nor text in UTF-8") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    skip = int(not all(map(is_number, next(csv.reader([first], delimiter=delimiter), []))))
    if not text.partition("\n")[2 * skip].strip():
        raise UnreadableSequenceError("no row of numbers")
    try:
        return np.loadtxt(io.StringIO(text), np.float64, comments=None, delimiter=delimiter, skiprows=skip, ndmin=2)
    except ValueError as error:
        raise UnreadableSequenceError(" ".join(str(error).split())[:100]) from error


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
