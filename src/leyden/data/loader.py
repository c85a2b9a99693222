"""The DataLoader of every data module, which may begin in the middle of an epoch."""

from collections.abc import Iterator
from typing import TypeVar

from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

Batch = TypeVar("Batch", covariant=True)


class Loader(DataLoader[Batch]):
    """Asks its sampler, and starts its workers, when the first batch is wanted.

    Lightning calls `iter()` while it counts the steps, before it has restored epoch and step from a checkpoint: workers would
    read ahead in the wrong epoch.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        yield from super().__iter__()


def position(trainer: Trainer | None) -> int:
    """Tell with which batch of the epoch a training goes on: 0, except after a restart in the epoch's middle."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready if trainer else 0
