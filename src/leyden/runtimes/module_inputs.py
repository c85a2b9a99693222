"""The inputs of any LightningModule: batches of its data, as its `forward` takes them."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from leyden.errors import UserError

SPLITS = ("test", "val")
Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # of a call of `forward`


def open_loader(data: Any, splits: tuple[str, ...] = SPLITS) -> DataLoader[Any]:
    """Return a LightningDataModule's loader of the first of these splits that it has.

    Raises:
        UserError: if it has none, or several loaders for the split.
    """
    for split in splits:
        method = getattr(data, f"{split}_dataloader")
        if method.__func__.__module__.startswith("lightning."):  # its own, which only raises
            continue
        data.prepare_data()
        data.setup("validate" if split == "val" else split)
        loader = method()
        if not isinstance(loader, list | tuple | dict):
            return loader
        raise UserError(
            f"expected one loader from {type(data).__name__}.{split}_dataloader; got {len(loader)}; return one"
        )
    names = " or ".join(f"{split}_dataloader" for split in splits)
    raise UserError(f"expected a data module with a {names}; {type(data).__name__} has none; add one")


def bind_batch(forward: Callable[..., Any], batch: Any) -> Arguments:
    """Return the arguments of `forward` for a batch of a loader.

    Of a tuple, it is the first entry, and as many as `forward` requires if that is more than one; the others are
    targets. Of a dict, it is the whole, or the entries whose keys are the names of `forward`'s parameters.
    """
    parameters = inspect.signature(forward).parameters.values()
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    required = [each.name for each in named if each.default is each.empty]
    if isinstance(batch, list | tuple):
        if isinstance(batch[0], Tensor) and len(required) > 1:
            return tuple(batch[: len(required)]), {}
        batch = batch[0]
        if isinstance(batch, list | tuple) and len(required) > 1:
            return tuple(batch), {}
    if isinstance(batch, dict) and required and set(required) <= batch.keys():
        return (), {each.name: batch[each.name] for each in named if each.name in batch}
    return (batch,), {}
