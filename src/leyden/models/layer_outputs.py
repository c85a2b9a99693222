"""The tensors that the layers of a network return when it runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn


class LayerOutput(NamedTuple):
    """The name of a layer, and the shape and size in bytes of the tensor that it returned."""

    layer: str
    shape: tuple[int, ...]
    num_bytes: int

    @property
    def is_spatial(self) -> bool:
        """Whether the output has spatial dimensions (B, C, H, W) with more than one position."""
        return len(self.shape) == 4 and self.shape[2] * self.shape[3] > 1


def leaf_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Return the modules without children, by name."""
    return {name: layer for name, layer in network.named_modules() if not list(layer.children())}


@contextmanager
def observe_outputs(layers: Mapping[str, nn.Module], observe: Callable[[str, Any], None]) -> Iterator[None]:
    """Call `observe(name, output)` each time that one of the layers has run."""
    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.enter_context(layer.register_forward_hook(lambda _, __, output, name=name: observe(name, output)))
        yield


def record_outputs(network: nn.Module, layers: Mapping[str, nn.Module], *inputs: Tensor) -> list[LayerOutput]:
    """Run a network, and list the tensors that its layers return, in the order of their calls."""
    outputs: list[LayerOutput] = []

    def record(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append(LayerOutput(name, tuple(output.shape), output.nbytes))

    with observe_outputs(layers, record):
        network(*inputs)
    return outputs


def last_spatial_output(outputs: list[LayerOutput]) -> LayerOutput | None:
    """Return the last output with spatial dimensions, if there is one: that of the layer before the pooling."""
    return next((output for output in reversed(outputs) if output.is_spatial), None)
