"""Networks whose exported programs contain branches that depend on the data."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def branching(network: nn.Module, enabled: bool) -> Iterator[None]:
    """Export a network with its branches, or let it compute all of them and select the same logits.

    Only a network with an attribute `branching` has the choice; the attribute is restored at the end.
    """
    original = getattr(network, "branching", None)
    if original is None or enabled:
        yield
        return
    network.branching = False  # type: ignore[assignment]
    try:
        yield
    finally:
        network.branching = original
