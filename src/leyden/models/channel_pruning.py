"""Networks with fewer channels: which channels belong together, and which of them a narrower network keeps.

The output of a convolution passes through norms and activations, is added to shortcuts, and is read by the next layers:
a channel can only be removed from all of them at once. torch.fx traces where it goes. Where an operation may mix
channels, all are kept.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from leyden.errors import UserError, one_line
from leyden.models.network_spec import NetworkSpec, build_network

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Layers and functions that process each channel separately.
CHANNELWISE_LAYERS: tuple[type, ...] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish),
    *(nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
CHANNELWISE_FUNCTIONS = {torch.relu, F.relu, F.dropout, F.adaptive_avg_pool2d, "relu"}
ELEMENTWISE_OPERATORS = {operator.add, operator.iadd, operator.mul, operator.imul, torch.add, torch.mul, "add", "mul"}


@dataclass
class ChannelGroup:
    """Channels that can only be kept or removed together: their number, and the dimensions of tensors that hold them.

    A dimension is a name in the state dict and the dimension's number. Its length is `size`, or a multiple of it where
    the channels' pixels were flattened.
    """

    size: int
    dims: list[tuple[str, int]]


@dataclass(frozen=True)
class TracedChannels:
    """Stands for a tensor during tracing: the group of its channels, and whether their pixels are flattened."""

    group: int
    is_flattened: bool


class ChannelTracer(fx.Interpreter):
    """Traces channels through a network; None stands for values none of whose channels may be removed.

    Groups are numbered, and merged by a union-find structure: `parents` holds each group's parent.
    """

    def __init__(self, network: nn.Module) -> None:
        traced = fx.symbolic_trace(network)
        super().__init__(traced)
        self.num_inputs = sum(node.op == "placeholder" for node in traced.graph.nodes)
        self.sizes: list[int] = []
        self.parents: list[int] = []
        self.unprunable: set[int] = set()
        self.group_of_dim: dict[tuple[str, int], int] = {}

    def prunable_groups(self) -> list[ChannelGroup]:
        unprunable, groups = {self.find_root(group) for group in self.unprunable}, dict[int, ChannelGroup]()
        for dim, group in self.group_of_dim.items():
            if (root := self.find_root(group)) not in unprunable:
                groups.setdefault(root, ChannelGroup(self.sizes[root], [])).dims.append(dim)
        return list(groups.values())

    def find_root(self, group: int) -> int:
        while self.parents[group] != group:
            group = self.parents[group]
        return group

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> None: ...

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> None: ...

    def output(self, target: Any, args: Any, kwargs: Any) -> None:
        self.keep_all(args)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> TracedChannels | None:
        if target in ELEMENTWISE_OPERATORS:
            return self.combine([*args, *kwargs.values()])
        if target is torch.flatten or target == "flatten":
            return self.flatten(*args, **kwargs)
        return args[0] if target in CHANNELWISE_FUNCTIONS else self.keep_all((args, kwargs))

    call_method = call_function

    def call_module(self, target: Any, args: Any, kwargs: Any) -> TracedChannels | None:
        layer, channels = self.fetch_attr(target), args[0] if args else None
        tensors = [f"{target}.{name}" for name, tensor in layer.state_dict().items() if tensor.ndim]
        if isinstance(layer, CONVOLUTIONS) and not (channels and channels.is_flattened):
            if layer.groups == 1:
                return self.add_layer(channels, tensors, layer.in_channels, layer.out_channels, is_flattened=False)
            if layer.groups == layer.in_channels == layer.out_channels and channels:  # depthwise
                return self.record(channels, tensors, 0)
        if isinstance(layer, nn.Linear) and (channels is None or channels.is_flattened):
            return self.add_layer(channels, tensors, layer.in_features, layer.out_features, is_flattened=True)
        if isinstance(layer, _BatchNorm) and channels and self.sizes[channels.group] == layer.num_features:
            return self.record(channels, tensors, 0)
        if isinstance(layer, nn.Flatten):
            return self.flatten(channels, layer.start_dim, layer.end_dim)
        return channels if isinstance(layer, CHANNELWISE_LAYERS) else self.keep_all((args, kwargs))

    def add_layer(
        self, channels: TracedChannels | None, tensors: list[str], in_size: int, out_size: int, is_flattened: bool
    ) -> TracedChannels:
        """Record a layer's input channels, in its weight's second dimension, and start a group for its outputs."""
        if channels and in_size % self.sizes[channels.group] == 0:
            self.record(channels, [name for name in tensors if name.endswith(".weight")], 1)
        elif channels:
            self.keep_all(channels)
        self.sizes.append(out_size)
        self.parents.append(len(self.parents))
        return self.record(TracedChannels(len(self.parents) - 1, is_flattened), tensors, 0)

    def record(self, channels: TracedChannels, tensors: list[str], dim: int) -> TracedChannels:
        """Record which dimension of tensors holds channels; two calls of one layer merge their groups."""
        for name in tensors:
            self.merge(self.group_of_dim.setdefault((name, dim), channels.group), channels.group)
        return channels

    def merge(self, first: int, second: int) -> None:
        if self.sizes[first] == self.sizes[second]:
            self.parents[self.find_root(second)] = self.find_root(first)
        else:
            self.unprunable |= {first, second}

    def combine(self, values: list[Any]) -> TracedChannels | None:
        """Add or multiply values: merge their channels if they have equally many in the same layout."""
        operands = [value for value in values if not isinstance(value, int | float)]
        layouts = {
            isinstance(operand, TracedChannels) and (operand.is_flattened, self.sizes[operand.group])
            for operand in operands
        }
        if False in layouts or len(layouts) > 1:
            return self.keep_all(operands)
        for operand in operands:
            self.merge(operands[0].group, operand.group)
        return operands[0]

    def flatten(self, channels: TracedChannels | None, start_dim: int = 0, end_dim: int = -1) -> TracedChannels | None:
        if channels and (start_dim, end_dim) == (1, -1):
            return TracedChannels(channels.group, is_flattened=True)
        return self.keep_all(channels)

    def keep_all(self, values: Any) -> TracedChannels | None:
        """Mark all channels that enter an unknown operation as unprunable; its result is untraced as well."""
        self.unprunable |= {value.group for value in tree_leaves(values) if isinstance(value, TracedChannels)}
        return None


def trace_channels(network: nn.Module) -> list[ChannelGroup]:
    """Find the groups of channels that may be pruned.

    Source: Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, section 3.2; here along torch.fx's graph of
    layers instead of autograd's graph.

    Raises:
        UserError: if torch.fx cannot trace the network, or none of its channels may be removed.
    """
    was_training = network.training
    try:
        tracer = ChannelTracer(network.eval())
        tracer.run(*[None] * tracer.num_inputs)
    except Exception as error:  # a network's own code may raise anything when it is traced
        raise UserError(
            f"expected a network that torch.fx can trace; {type(network).__name__} cannot be traced "
            f"({one_line(error)}); prune a different network"
        ) from error
    finally:
        network.train(was_training)
    if groups := tracer.prunable_groups():
        return groups
    raise UserError(
        f"expected convolutions or linear layers whose channels can be traced; {type(network).__name__} has none; "
        "prune a different network"
    )


def slice_channels(state: dict[str, Tensor], kept: list[tuple[ChannelGroup, Tensor]]) -> dict[str, Tensor]:
    """Return a state dict with only the kept channels of each group, given by their indices, int64 (k,)."""
    state = dict(state)
    for group, indices in kept:
        for name, dim in group.dims:
            num_pixels = state[name].shape[dim] // group.size
            rows = (indices[:, None] * num_pixels + torch.arange(num_pixels)).flatten()
            state[name] = state[name].index_select(dim, rows.to(state[name].device))
    return state


def narrow_network(
    network: NetworkSpec, num_classes: int, in_channels: int, image_size: tuple[int, int], keep_fraction: float = 0.5
) -> nn.Module:
    """Build a network with a fraction of each layer's channels; layers whose outputs are added keep the same ones.

    Args:
        network: `class_path` and `init_args` of the wide network.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels.
        keep_fraction: Fraction of the channels to keep, in (0, 1].

    Raises:
        UserError: if the fraction is out of range, or the network cannot be traced.
    """
    if not 0 < keep_fraction <= 1:
        raise UserError(f"expected keep_fraction in (0, 1]; got {keep_fraction}; set it in the config of the network")
    if not set(network) <= {"class_path", "init_args"}:  # the command line stores a dotted key in a dict as it is
        raise UserError(
            f"expected class_path and init_args of the wide network; got {', '.join(network)}; pass it as one value"
        )
    data_args = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    built, accepted = build_network(network, data_args)
    if in_channels == 1 and "in_channels" not in accepted:
        raise UserError(
            f"expected a network for greyscale images; {network['class_path']} accepts RGB only; "
            "use leyden.models.TorchvisionNet for torchvision's networks"
        )
    kept = [(group, torch.arange(max(1, round(group.size * keep_fraction)))) for group in trace_channels(built)]
    state = slice_channels(built.state_dict(), kept)
    for path, layer in built.named_modules():
        names = [name for name in layer._parameters | layer._buffers if f"{path}.{name}" in state]
        resize_layer(layer, {name: state[f"{path}.{name}"] for name in names})
    return built


def resize_layer(layer: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Replace a layer's tensors, and set its sizes to theirs."""
    if all(tensor.shape == getattr(layer, name).shape for name, tensor in tensors.items()):
        return
    for name, tensor in tensors.items():
        setattr(layer, name, nn.Parameter(tensor) if name in layer._parameters else tensor)
    out_size = len(tensors["weight" if "weight" in tensors else "running_mean"])
    if isinstance(layer, CONVOLUTIONS):
        layer.groups = layer.groups if layer.groups == 1 else out_size
        layer.in_channels, layer.out_channels = tensors["weight"].shape[1] * layer.groups, out_size
    elif isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = tensors["weight"].shape[1], out_size
    elif isinstance(layer, _BatchNorm):
        layer.num_features = out_size


def select_channels(wide: nn.Module, narrow: dict[str, Tensor]) -> dict[str, Tensor]:
    """Select as many of a wide network's most important channels as a narrow one has, and return their weights.

    A channel's importance is the sum of its squared weights in all layers that produce or read it, each relative to the
    layer's mean.

    Source: Fang et al., 2023, section 3.3, equation 3.

    Args:
        wide: A trained network.
        narrow: State dict of a network with the same layers, and as many or fewer channels.
    """
    state, kept = wide.state_dict(), []
    for group in trace_channels(wide):
        name, dim = group.dims[0]
        if name not in narrow or narrow[name].ndim <= dim:
            continue
        num_kept = group.size * narrow[name].shape[dim] // state[name].shape[dim]
        importance = torch.zeros(group.size)
        for name, dim in group.dims:
            if name.endswith(".weight"):
                squares = state[name].float().movedim(dim, 0).reshape(group.size, -1).square().sum(dim=1)
                importance += squares / squares.mean().clamp(min=1e-12)
        kept.append((group, importance.topk(min(num_kept, group.size)).indices.sort().values))
    return slice_channels(state, kept)
