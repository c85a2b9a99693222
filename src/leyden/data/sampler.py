"""Which examples make a batch: a function of (seed, epoch, step), split over processes without loss or repeat."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class BatchIndex(NamedTuple):
    """A batch to gather: this process's rows, and the seed that the whole global batch is augmented by."""

    rows: np.ndarray
    seed: int


class BatchSampler(Sampler[BatchIndex]):
    """Draws batches; a restart, also in the middle of an epoch, repeats them without stored state, on any number of processes.

    The global batch of a step has `batch_size * world_size` examples; each process takes every `world_size`-th of them, so
    that 2 processes of 32 see what 1 process of 64 does. Nothing is padded: where the last examples do not go round, some
    processes have one fewer, and no example enters a metric twice.
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        weights: np.ndarray | None = None,
        rank: int = 0,
        world_size: int = 1,
        lengths: np.ndarray | None = None,
        bucket_batches: int = 1,
        first_step: Callable[[], int] = int,
    ) -> None:
        """Describe the batches.

        Args:
            num_examples: Rows to choose from.
            batch_size: Examples per step and process.
            seed: Decides the order.
            shuffle: Draw a new order each epoch, and leave out a last batch that is not full.
            weights: (num_examples,) relative chances; with them rows are drawn with replacement.
            rank: This process.
            world_size: All processes.
            lengths: (num_examples,) time steps of each example; with them batches are of like length.
            bucket_batches: How many batches are sorted by length among themselves.
            first_step: Tells, when an epoch begins, which of its steps comes first: above 0 after a restart in its middle.
        """
        self._num_examples, self._seed, self._shuffle, self._weights = num_examples, seed, shuffle, weights
        self._global_size = batch_size * world_size
        self._rank, self._world_size = rank, world_size
        self._lengths, self._bucket_batches, self._first_step = lengths, bucket_batches, first_step
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it before each one."""
        self._epoch = epoch

    def __len__(self) -> int:
        if self._shuffle and self._num_examples > self._global_size:
            return self._num_examples // self._global_size  # a short last batch would weigh its examples more
        return -(-self._num_examples // self._global_size)

    def order(self) -> np.ndarray:
        """Give the epoch's rows in the order in which they are seen."""
        if not self._shuffle:
            return np.arange(self._num_examples)
        generator = np.random.default_rng([self._seed, self._epoch])
        if self._weights is None:
            order = generator.permutation(self._num_examples)
        else:
            order = generator.choice(self._num_examples, self._num_examples, p=self._weights / self._weights.sum())
        return (
            order
            if self._lengths is None
            else bucket(order, self._lengths, self._global_size, self._bucket_batches, generator)
        )

    def __iter__(self) -> Iterator[BatchIndex]:
        order = self.order()
        for step in range(self._first_step(), len(self)):
            seed = np.random.SeedSequence([self._seed, self._epoch, step]).generate_state(1, np.uint64)[0]
            # Sorted rows are read from the memory map in order; their order within a batch has no meaning.
            rows = np.sort(order[step * self._global_size : (step + 1) * self._global_size])
            yield BatchIndex(rows[self._rank :: self._world_size], int(seed >> np.uint64(1)))


def bucket(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, num_batches: int, generator: np.random.Generator
) -> np.ndarray:
    """Sort examples by length within windows of `num_batches` batches, then draw the batches' order; the incomplete one stays last.

    Windows keep the composition of batches random; whole batches are moved, so that short and long ones alternate.
    """
    full = len(order) // batch_size * batch_size
    window = num_batches * batch_size
    pieces = [order[start : min(start + window, full)] for start in range(0, full, window)]
    ordered = [piece[np.argsort(lengths[piece], kind="stable")] for piece in pieces]
    batches = np.concatenate(ordered or [order[:0]]).reshape(-1, batch_size)
    return np.concatenate([generator.permutation(batches).reshape(-1), order[full:]])


def balancing_weights(labels: np.ndarray) -> np.ndarray:
    """Give each example the chance that makes all classes equally likely: (N,)."""
    counts = np.bincount(labels)
    return 1.0 / counts[labels]
