"""The DataLoader of every data module, which may resume in the middle of an epoch."""

from collections.abc import Iterator
from typing import TypeVar

from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

Batch = TypeVar("Batch", covariant=True)


class Loader(DataLoader[Batch]):
    """Iterates over its sampler, and starts its workers, only when the first batch is requested.

    Lightning calls `iter()` while it counts the steps, before it has restored epoch and step from a checkpoint: workers
    would read ahead in the wrong epoch.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        yield from super().__iter__()


def next_batch_index(trainer: Trainer | None) -> int:
    """Return the index in the epoch of the next training batch: 0, except after resuming in the middle of an epoch."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready if trainer else 0
