"""Sampling of batches as a function of (seed, epoch, step), split over processes without loss or repetition."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class BatchIndex(NamedTuple):
    """This process's rows of a batch, and the seed of the global batch's augmentation."""

    rows: np.ndarray
    seed: int


class BatchSampler(Sampler[BatchIndex]):
    """Samples batches that are the same after a restart, also in the middle of an epoch, without stored state.

    The global batch of a step has `batch_size * world_size` examples; each process takes every `world_size`-th of them,
    so that 2 processes with 32 see what 1 process with 64 does. Nothing is padded: if the last examples do not divide
    evenly, some processes have one fewer, and no example enters a metric twice.
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
            num_examples: Rows to sample from.
            batch_size: Examples per step and process.
            seed: Decides the order.
            shuffle: Use a new order each epoch, and drop a last batch that is not full.
            weights: (num_examples,) relative probabilities; if given, rows are drawn with replacement.
            rank: Index of this process.
            world_size: Number of processes.
            lengths: (num_examples,) time steps of each example; if given, the examples of a batch have similar lengths.
            bucket_batches: Number of batches that are sorted by length together.
            first_step: Returns the first step of an epoch that begins: above 0 after a restart in the middle of one.
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
            return self._num_examples // self._global_size  # a short last batch would give its examples more weight
        return -(-self._num_examples // self._global_size)

    def order(self) -> np.ndarray:
        """Return the epoch's rows in the order in which they are seen."""
        if not self._shuffle:
            return np.arange(self._num_examples)
        generator = np.random.default_rng([self._seed, self._epoch])
        if self._weights is None:
            order = generator.permutation(self._num_examples)
        else:
            order = generator.choice(self._num_examples, self._num_examples, p=self._weights / self._weights.sum())
        if self._lengths is None:
            return order
        return bucket_by_length(order, self._lengths, self._global_size, self._bucket_batches, generator)

    def __iter__(self) -> Iterator[BatchIndex]:
        order = self.order()
        for step in range(self._first_step(), len(self)):
            # Sorted rows are read from the memory map in order; their order within a batch does not matter.
            rows = np.sort(order[step * self._global_size : (step + 1) * self._global_size])
            yield BatchIndex(rows[self._rank :: self._world_size], batch_seed(self._seed, self._epoch, step))


def batch_seed(seed: int, epoch: int, step: int) -> int:
    """Return the seed of a global batch's augmentation, in [0, 2^63)."""
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def bucket_by_length(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, num_batches: int, generator: np.random.Generator
) -> np.ndarray:
    """Sort examples by length within windows of `num_batches` batches, then shuffle the batches.

    Windows keep the composition of batches random; shuffling makes short and long batches alternate. An incomplete
    batch stays last.
    """
    num_full = len(order) // batch_size * batch_size
    window_size = num_batches * batch_size
    windows = [order[start : min(start + window_size, num_full)] for start in range(0, num_full, window_size)]
    by_length = [rows[np.argsort(lengths[rows], kind="stable")] for rows in windows]
    batches = np.concatenate(by_length or [order[:0]]).reshape(-1, batch_size)
    return np.concatenate([generator.permutation(batches).reshape(-1), order[num_full:]])
