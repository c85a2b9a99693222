"""Examples that a model file is run on: images or sequences, in batches of any size. Needs numpy only."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

Batch = tuple[np.ndarray, ...]  # one array for each input of the model


class Examples(Protocol):
    """Examples as a model's inputs."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the examples at these indices."""

    def edge_cases(self) -> list[Batch]:
        """Return further batches, made of the first examples, that reveal errors which the examples do not."""

    def save(self, path: Path) -> None: ...


@dataclass(frozen=True)
class ImageExamples:
    """Images uint8 (N, C, H, W)."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: np.ndarray) -> Batch:
        return (np.ascontiguousarray(self.images[indices]),)

    def edge_cases(self) -> list[Batch]:
        return []

    def save(self, path: Path) -> None:
        np.savez(path, images=self.images)


@dataclass(frozen=True)
class SequenceExamples:
    """Sequences: zero-padded values float32 (N, T, F) and lengths int64 (N,); batches are cut to the longest."""

    values: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: np.ndarray) -> Batch:
        lengths = self.lengths[indices]
        return np.ascontiguousarray(self.values[indices, : lengths.max()]), lengths

    def edge_cases(self) -> list[Batch]:
        """Return single steps, a length that some exports treat as constant, and a very long sequence."""
        values, lengths = self.values[:3], self.lengths[:3]
        num_repeats = 2 * self.values.shape[1] // int(lengths[0]) + 1
        repeated = np.concatenate([self.values[:1, : lengths[0]]] * num_repeats, axis=1)
        return [
            (np.ascontiguousarray(values[:, :1]), np.ones_like(lengths)),
            (repeated, np.array([repeated.shape[1]], lengths.dtype)),
        ]

    def save(self, path: Path) -> None:
        np.savez(path, values=self.values, lengths=self.lengths)


def batches(examples: Examples, size: int) -> Iterator[Batch]:
    """Yield all examples in batches; the last one may be smaller."""
    for start in range(0, len(examples), size):
        yield examples.batch(np.arange(start, min(start + size, len(examples))))


def load_examples(path: Path) -> Examples:
    with np.load(path) as file:
        arrays = dict(file)
    return SequenceExamples(**arrays) if "lengths" in arrays else ImageExamples(**arrays)
