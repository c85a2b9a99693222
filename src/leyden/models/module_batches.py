"""Batches of a LightningDataModule, as a LightningModule's steps get them."""

import sys
from collections.abc import Iterator
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils.data import DataLoader, RandomSampler

from leyden.errors import UserError
from leyden.models.module_checkpoint import quiet_lightning

SPLITS = ("test", "val")
BATCH_HOOKS = ("on_before_batch_transfer", "on_after_batch_transfer")


def open_loader(data: Any, splits: tuple[str, ...] = SPLITS) -> DataLoader[Any]:
    """Return a LightningDataModule's loader of the first of these splits that it has.

    Raises:
        UserError: if it has none, or several loaders for the split.
    """
    for split in splits:
        if not is_overridden(f"{split}_dataloader", data):
            continue
        data.prepare_data()
        data.setup("validate" if split == "val" else split)
        loader = getattr(data, f"{split}_dataloader")()
        if hasattr(loader, "__iter__") and not isinstance(loader, list | tuple | dict | CombinedLoader):
            return loader
        raise UserError(
            f"expected one loader from {type(data).__name__}.{split}_dataloader; got {type(loader).__name__}; return "
            "a DataLoader"
        )
    names = " or ".join(f"{split}_dataloader" for split in splits)
    raise UserError(f"expected a data module with a {names}; {type(data).__name__} has none; add one")


def read_batches(module: LightningModule, data: Any) -> Iterator[Any]:
    """Yield the batches of the test split, else of the validation split, as the module's steps get them.

    To the hooks that change a batch before and after its transfer, the trainer appears to be testing.

    Raises:
        UserError: if there is no batch, or see `open_loader`.
    """
    loader, name = open_loader(data), type(data).__name__
    owners = {hook: data if is_overridden(hook, data) else module for hook in BATCH_HOOKS}
    with quiet_lightning():
        trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    trainer.testing = True
    module.trainer = data.trainer = trainer
    try:
        batch = None
        for batch in loader:
            for hook, owner in owners.items():
                batch = getattr(owner, hook)(batch, 0)
            yield batch
        if batch is None:
            raise UserError(
                f"expected batches of the loader of {name}; got none; add examples, or set drop_last: false"
            )
    finally:
        module.trainer = data.trainer = None


def warn_of_shuffling(loader: Any, verb: str) -> None:
    """Print a warning if a loader shuffles: its examples are then numbered in another order than the data set's."""
    samplers = (getattr(owner, "sampler", None) for owner in (loader, getattr(loader, "batch_sampler", None)))
    if any(isinstance(each, RandomSampler) for each in samplers):
        print(f"{verb}: warning: the loader shuffles, so examples are not numbered as in the data set", file=sys.stderr)
