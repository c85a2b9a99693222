"""Random numbers as a function of (seed, epoch, step): a resumed training draws those of an uninterrupted one."""

import functools
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from leyden.data.loader import Loader

STEP, EPOCH, LOADING, VALIDATION = (), (1,), (2,), (3,)  # keys of independent streams
States = tuple[torch.Tensor, Any, Any]


def seed_generators(entropy: Sequence[int], stream: tuple[int, ...], further: Sequence[torch.Generator] = ()) -> None:
    """Seed torch's, NumPy's and Python's generators, and further ones of torch."""
    sequence = np.random.SeedSequence(entropy, spawn_key=stream)
    torch_seed, numpy_seed, python_seed, own_seed = (int(seed) for seed in sequence.generate_state(4))
    seed_torch(torch_seed)
    np.random.seed(numpy_seed)
    random.seed(python_seed)
    for generator in further:
        generator.manual_seed(own_seed)


def seed_torch(seed: int) -> None:
    """Seed torch as torch.manual_seed does, but faster.

    torch.manual_seed formats a stack trace for each unused kind of device, which takes a third of a small step.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # is_available queries the driver each time
        torch.cuda.manual_seed_all(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def get_states() -> States:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def set_states(states: States) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


class SeededLoader(DataLoader[Any]):
    """Becomes the class of a user's DataLoader, which then seeds and starts its workers with its first batch.

    Lightning calls `iter()` while it counts the steps, before it has restored epoch and step from a checkpoint.
    """

    seed: Callable[[int, Sequence[torch.Generator]], None]
    first_batch: Callable[[], int]
    own_generators: list[torch.Generator]  # that the user gave

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.seed(0, self.own_generators)
        self._iterator = None  # of persistent workers, whose random numbers would depend on earlier epochs
        batches = super().__iter__()
        first = self.first_batch()
        if first and not isinstance(batches, Generator):  # which draws the order only now
            self.seed(first, ())
        yield from batches


def seed_loaders(
    request: Callable[[], Any], seed: Callable[[int, Sequence[torch.Generator]], None], first_batch: Callable[[], int]
) -> Callable[[], Any]:
    """Wrap the hook that returns a module's loaders, so that each DataLoader among them becomes a `SeededLoader`.

    Args:
        request: `train_dataloader` or `val_dataloader`.
        seed: Seeds all generators for a batch of the current epoch, and the given ones.
        first_batch: Returns the index of the first batch that is requested, above 0 after resuming within an epoch.
    """

    @functools.wraps(request)
    def requested() -> Any:
        loaders = request()
        for loader in tree_leaves(loaders.flattened if isinstance(loaders, CombinedLoader) else loaders):
            if isinstance(loader, DataLoader) and not isinstance(loader, Loader | SeededLoader):
                kind, functions = type(loader), {"seed": staticmethod(seed), "first_batch": staticmethod(first_batch)}
                attributes = {**functions, "own_generators": find_generators(loader)}
                loader.__class__ = type(kind.__name__, (SeededLoader, kind), attributes)
        return loaders

    return requested


def find_generators(loader: DataLoader[Any]) -> list[torch.Generator]:
    """Return the generators that a user gave to a loader or to its sampler."""
    samplers = (loader.sampler, getattr(loader.batch_sampler, "sampler", None))
    found = (getattr(owner, "generator", None) for owner in (loader, *samplers))
    return list({id(generator): generator for generator in found if isinstance(generator, torch.Generator)}.values())
