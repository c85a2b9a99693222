"""Networks whose exported programs branch on what they see."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def branches(network: nn.Module, kept: bool) -> Iterator[None]:
    """Export a network with its branches, or with all of it run and the same answers picked.

    Only a network with an attribute `branching` has a choice; it is shared by all files, and gets its own back.
    """
    branching = getattr(network, "branching", None)
    if branching is None or kept:
        yield
        return
    network.branching = False  # type: ignore[assignment]
    try:
        yield
    finally:
        network.branching = branching
