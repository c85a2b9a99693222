"""Activation checkpointing: modules recompute their activations in the backward pass instead of storing them."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from leyden.class_paths import import_path
from leyden.errors import UserError


def checkpoint_modules(network: nn.Module, class_paths: Sequence[str]) -> None:
    """Checkpoint every module of the given classes, in place; weights, their names and gradients stay the same.

    Of nested modules of one class, only the outermost is checkpointed.

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, section 4.

    Raises:
        UserError: if a path names no module class, or a class that the network has no module of.
    """
    for path in class_paths:
        try:
            module_class = import_path(path)
        except ImportError as error:
            raise UserError(
                f"expected the path of a module class in checkpoint_modules; {path!r} cannot be imported; correct it"
            ) from error
        modules = list(outermost_modules(network, module_class)) if isinstance(module_class, type) else []
        if not modules:
            classes = {type(module) for module in network.modules() if list(module.children())}
            available = sorted(f"{each.__module__}.{each.__name__}" for each in classes)
            raise UserError(
                f"expected classes of the network's modules in checkpoint_modules; got {path}; "
                f"use one of {', '.join(available)}"
            )
        for module in modules:
            module.forward = functools.partial(forward_checkpointed, module, module.forward)


def outermost_modules(module: nn.Module, module_class: type) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, module_class):
            yield child
        else:
            yield from outermost_modules(child, module_class)


def forward_checkpointed(module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a module's forward; dropout draws the same mask when it is recomputed."""
    if not module.training:
        return forward(*args, **kwargs)
    return checkpoint(
        forward,
        *args,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), preserve_buffers(module)),  # of the forward pass and the recomputation
        **kwargs,
    )


@contextmanager
def preserve_buffers(module: nn.Module) -> Iterator[None]:
    """Restore all buffers at the end: batch norm's running statistics have counted this batch in the forward pass."""
    buffers = [(layer, name, value) for layer in module.modules() for name, value in layer.named_buffers(recurse=False)]
    try:
        for layer, name, value in buffers:
            setattr(layer, name, value.clone())
        yield
    finally:
        for layer, name, value in buffers:
            setattr(layer, name, value)
