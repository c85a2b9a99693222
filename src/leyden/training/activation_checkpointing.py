"""Activation checkpointing: parts of a network compute their activations again in the backward pass and store none of them."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from leyden.class_paths import import_path
from leyden.errors import UserError


def checkpoint_modules(network: nn.Module, class_paths: Sequence[str]) -> None:
    """Checkpoint every module of the classes named, the outermost of nested ones; weights, their names and gradients stay the same.

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, section 4.

    Raises:
        UserError: if a path names no module class, or one that the network has no part of.
    """
    for path in class_paths:
        try:
            wanted = import_path(path)
        except ImportError as error:
            raise UserError(
                f"expected the path of a module class in checkpoint_modules; {path!r} cannot be imported; correct it"
            ) from error
        parts = list(outermost(network, wanted)) if isinstance(wanted, type) else []
        if not parts:
            own = sorted(
                {
                    f"{type(part).__module__}.{type(part).__name__}"
                    for part in network.modules()
                    if list(part.children())
                }
            )
            raise UserError(
                f"expected classes of the network's parts in checkpoint_modules; got {path}; it has {', '.join(own)}"
            )
        for part in parts:
            part.forward = functools.partial(run, part, part.forward)


def outermost(module: nn.Module, wanted: type) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, wanted):
            yield child
        else:
            yield from outermost(child, wanted)


def run(part: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a module's forward; dropout draws the same mask in the second computation."""
    if not part.training:
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=functools.partial(contexts, part), **kwargs)


def contexts(part: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), buffers_preserved(part)


@contextmanager
def buffers_preserved(part: nn.Module) -> Iterator[None]:
    """Let a second computation update copies: batch norm's running statistics have counted this batch already."""
    kept = [(layer, name, value) for layer in part.modules() for name, value in layer.named_buffers(recurse=False)]
    try:
        for layer, name, value in kept:
            setattr(layer, name, value.clone())
        yield
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)
