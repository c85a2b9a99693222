"""The DataLoader of every data module, which may resume in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset, Sampler

from leyden.ranges import BATCH_SIZES, NUM_WORKERS, SEEDS, check_range

Batch = TypeVar("Batch", covariant=True)


class Loader(DataLoader[Batch]):
    """Iterates over its sampler, and starts its workers, only when the first batch is requested.

    Lightning calls `iter()` while it counts the steps, before it has restored epoch and step from a checkpoint: workers
    would read ahead in the wrong epoch.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        yield from super().__iter__()


def make_loader(dataset: Dataset[Batch], sampler: Sampler[Any], num_workers: int) -> Loader[Batch]:
    """Return the loader of a data set whose items are whole batches, indexed by what the sampler yields."""
    return Loader(
        dataset,
        batch_size=None,
        sampler=sampler,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )


def check_loader_settings(batch_size: int, num_workers: int, seed: int) -> None:
    """Raise UserError for settings that no loader can be made with."""
    check_range("data", BATCH_SIZES, batch_size=batch_size)
    check_range("data", NUM_WORKERS, num_workers=num_workers)
    check_range("data", SEEDS, seed=seed)


def next_batch_index(trainer: Trainer | None) -> int:
    """Return the index in the epoch of the next training batch: 0, except after resuming in the middle of an epoch."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready if trainer else 0
