"""The inputs of any LightningModule: batches of its data, as its `forward` takes them."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # of a call of `forward`


def find_lengths(batch: Any) -> set[int]:
    """Return the lengths of a batch's tensors and of its lists of other objects: one is its number of examples."""
    if isinstance(batch, Tensor):
        return {len(batch)} if batch.ndim else set()
    parts = list(batch.values()) if isinstance(batch, dict) else batch if isinstance(batch, list | tuple) else []
    lengths = set[int]().union(*map(find_lengths, parts))
    is_collated = isinstance(batch, dict) or (len(lengths) == 1 and all(isinstance(each, Tensor) for each in parts))
    return lengths if is_collated or not parts else lengths | {len(parts)}


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
