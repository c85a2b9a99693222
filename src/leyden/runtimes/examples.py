"""What a model file is run on: images, or sequences, in batches of any size; numpy alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

Batch = tuple[np.ndarray, ...]  # a model's inputs, in their order


class Examples(Protocol):
    """Batches of the inputs that a model takes."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Batch:
        """Give a batch of the examples of some numbers."""

    def edges(self) -> list[Batch]:
        """Give further batches, made of the first examples, on which a file could be wrong that is right on all of them."""

    def save(self, path: Path) -> None: ...


@dataclass(frozen=True)
class ImageExamples:
    """Images uint8 (N, C, H, W)."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> Batch:
        return (np.ascontiguousarray(self.images[rows]),)

    def edges(self) -> list[Batch]:
        return []

    def save(self, path: Path) -> None:
        np.savez(path, images=self.images)


@dataclass(frozen=True)
class SequenceExamples:
    """Sequences: values float32 (N, T, F), zero behind each one's end, and lengths int64 (N,); a batch is as long as its longest."""

    values: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> Batch:
        lengths = self.lengths[rows]
        return np.ascontiguousarray(self.values[rows, : lengths.max()]), lengths

    def edges(self) -> list[Batch]:
        """Give single steps, a length that some exports take for a constant, and one sequence repeated to more than twice the longest."""
        values, lengths = self.values[:3], self.lengths[:3]
        twice = np.concatenate(
            [self.values[:1, : lengths[0]]] * (2 * self.values.shape[1] // int(lengths[0]) + 1), axis=1
        )
        return [
            (np.ascontiguousarray(values[:, :1]), np.ones_like(lengths)),
            (twice, np.array([twice.shape[1]], lengths.dtype)),
        ]

    def save(self, path: Path) -> None:
        np.savez(path, values=self.values, lengths=self.lengths)


def batches(examples: Examples, size: int) -> Iterator[Batch]:
    """Give all examples in batches, the last one of which may be smaller."""
    for start in range(0, len(examples), size):
        yield examples.take(np.arange(start, min(start + size, len(examples))))


def load_examples(path: Path) -> Examples:
    with np.load(path) as file:
        arrays = dict(file)
    return SequenceExamples(**arrays) if "lengths" in arrays else ImageExamples(**arrays)
