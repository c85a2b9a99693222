"""Examples that a model file is run on: images or sequences, in batches of any size. Needs numpy only."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Batch = tuple[np.ndarray, ...]  # one array for each input of the model


@dataclass(frozen=True)
class ImageExamples:
    """Images uint8 (N, C, H, W)."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, count: int) -> "ImageExamples":
        """Return at most `count` of the examples, evenly spaced."""
        return ImageExamples(self.images[spread_rows(len(self), count)])

    def batch(self, indices: np.ndarray) -> Batch:
        return (np.ascontiguousarray(self.images[indices]),)

    def edge_cases(self) -> list[Batch]:
        return []


@dataclass(frozen=True)
class SequenceExamples:
    """Sequences: zero-padded values float32 (N, T, F) and lengths int64 (N,); batches are cut to the longest."""

    values: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, count: int) -> "SequenceExamples":
        rows = spread_rows(len(self), count)
        return SequenceExamples(self.values[rows], self.lengths[rows])

    def batch(self, indices: np.ndarray) -> Batch:
        lengths = self.lengths[indices]
        return np.ascontiguousarray(self.values[indices, : lengths.max()]), lengths

    def edge_cases(self) -> list[Batch]:
        """Return batches on which some exports fail: one step, a length treated as a constant, and a long sequence."""
        values, lengths = self.values[:3], self.lengths[:3]
        num_repeats = 2 * self.values.shape[1] // int(lengths[0]) + 1
        repeated = np.concatenate([self.values[:1, : lengths[0]]] * num_repeats, axis=1)
        return [
            (np.ascontiguousarray(values[:, :1]), np.ones_like(lengths)),
            (repeated, np.array([repeated.shape[1]], lengths.dtype)),
        ]


Examples = ImageExamples | SequenceExamples


def spread_rows(total: int, count: int) -> np.ndarray:
    """Return at most `count` rows, evenly spaced: a split is sorted by class, and its first rows are of a few only."""
    count = min(total, count)
    return np.arange(count) * total // max(1, count)


def batches(examples: Examples, size: int) -> Iterator[Batch]:
    """Yield all examples in batches; the last one may be smaller."""
    for start in range(0, len(examples), size):
        yield examples.batch(np.arange(start, min(start + size, len(examples))))


def save_examples(path: Path, examples: Examples) -> None:
    np.savez(path, **vars(examples))


def load_examples(path: Path) -> Examples:
    with np.load(path) as file:
        arrays = dict(file)
    return SequenceExamples(**arrays) if "lengths" in arrays else ImageExamples(**arrays)
