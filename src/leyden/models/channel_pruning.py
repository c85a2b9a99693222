"""Networks with fewer channels: which channels belong together, and which of a wide network's a narrow one takes.

What a convolution gives passes through norms and activations, is added to shortcuts, and is read by the next layers: a channel can
leave only from all of them at once. torch.fx follows it there; whatever is not known to keep channels apart keeps all of its own.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from leyden.errors import UserError
from leyden.models.image_model import NetworkSpec, build_network

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
CHANNELWISE: tuple[type, ...] = (
    *(
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Hardswish,
        nn.Hardsigmoid,
        nn.Sigmoid,
        nn.Tanh,
        nn.Identity,
    ),
    *(nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
KEEPING = {torch.relu, nn.functional.relu, nn.functional.dropout, nn.functional.adaptive_avg_pool2d, "relu"}
SUMS = {operator.add, operator.iadd, operator.mul, operator.imul, torch.add, torch.mul, "add", "mul"}


@dataclass
class Channels:
    """Channels that stay or leave together.

    Args:
        size: How many there are.
        places: Where they are: a tensor's name in the state dict and its dimension, which has `size` entries, or a multiple
            of it where the channels' pixels were flattened.
    """

    size: int
    places: list[tuple[str, int]]


@dataclass(frozen=True)
class Flow:
    """What flows through the network in the place of a tensor: the number of its channels' group; flat ones are the last dimension."""

    group: int
    flat: bool


class ChannelTracer(fx.Interpreter):
    """Sends channels through a network; None stands for values of which nothing may be removed."""

    def __init__(self, network: nn.Module) -> None:
        traced = fx.symbolic_trace(network)
        super().__init__(traced)
        self.num_inputs = sum(node.op == "placeholder" for node in traced.graph.nodes)
        self.sizes: list[int] = []
        self.parents: list[int] = []
        self.fixed: set[int] = set()
        self.places: dict[tuple[str, int], int] = {}

    def groups(self) -> list[Channels]:
        """Give the groups of which channels may leave."""
        fixed, found = {self.root(group) for group in self.fixed}, dict[int, Channels]()
        for place, group in self.places.items():
            if (root := self.root(group)) not in fixed:
                found.setdefault(root, Channels(self.sizes[root], [])).places.append(place)
        return list(found.values())

    def root(self, group: int) -> int:
        while self.parents[group] != group:
            group = self.parents[group]
        return group

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> None: ...

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> None: ...

    def output(self, target: Any, args: Any, kwargs: Any) -> None:
        self.fix(args)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Flow | None:
        if target in SUMS:
            return self.join([*args, *kwargs.values()])
        if target is torch.flatten or target == "flatten":
            return self.flatten(*args, **kwargs)
        return args[0] if target in KEEPING else self.fix((args, kwargs))

    call_method = call_function

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Flow | None:
        layer, flow = self.fetch_attr(target), args[0] if args else None
        tensors = [f"{target}.{name}" for name, tensor in layer.state_dict().items() if tensor.ndim]
        if isinstance(layer, CONVOLUTIONS) and layer.groups == 1 and not (flow and flow.flat):
            return self.read(flow, tensors, layer.in_channels, layer.out_channels, flat=False)
        if (
            isinstance(layer, CONVOLUTIONS)
            and layer.groups == layer.in_channels == layer.out_channels
            and flow
            and not flow.flat
        ):
            return self.place(flow, tensors, 0)  # depthwise: each channel stays itself
        if isinstance(layer, nn.Linear) and (flow is None or flow.flat):
            return self.read(flow, tensors, layer.in_features, layer.out_features, flat=True)
        if isinstance(layer, _BatchNorm) and flow and self.sizes[flow.group] == layer.num_features:
            return self.place(flow, tensors, 0)
        if isinstance(layer, nn.Flatten):
            return self.flatten(flow, layer.start_dim, layer.end_dim)
        return flow if isinstance(layer, CHANNELWISE) else self.fix((args, kwargs))

    def read(self, flow: Flow | None, tensors: list[str], size_in: int, size_out: int, flat: bool) -> Flow | None:
        """Let a layer read channels by its weight's second dimension, and give new ones by its tensors' first."""
        if flow and size_in % self.sizes[flow.group] == 0:
            self.place(flow, [name for name in tensors if name.endswith(".weight")], 1)
        elif flow:
            self.fix(flow)
        self.sizes.append(size_out)
        self.parents.append(len(self.parents))
        return self.place(Flow(len(self.parents) - 1, flat), tensors, 0)

    def place(self, flow: Flow, tensors: list[str], dim: int) -> Flow:
        """Note where channels are; a layer that is used twice ties what it reads, and what it gives."""
        for name in tensors:
            self.tie(self.places.setdefault((name, dim), flow.group), flow.group)
        return flow

    def tie(self, one: int, other: int) -> None:
        if self.sizes[one] == self.sizes[other]:
            self.parents[self.root(other)] = self.root(one)
        else:
            self.fixed |= {one, other}

    def join(self, values: list[Any]) -> Flow | None:
        """Add or multiply: channel by channel, where all values have the same ones."""
        flows = [value for value in values if not isinstance(value, int | float)]
        first = flows[0]
        if not all(
            isinstance(flow, Flow) and (flow.flat, self.sizes[flow.group]) == (first.flat, self.sizes[first.group])
            for flow in flows
        ):
            return self.fix(flows)
        for flow in flows:
            self.tie(first.group, flow.group)
        return first

    def flatten(self, flow: Flow | None, start_dim: int = 0, end_dim: int = -1) -> Flow | None:
        return Flow(flow.group, flat=True) if flow and (start_dim, end_dim) == (1, -1) else self.fix(flow)

    def fix(self, values: Any) -> Flow | None:
        """Keep all channels of what goes into something unknown; what comes out is unknown as well."""
        if isinstance(values, Flow):
            self.fixed.add(values.group)
        elif isinstance(values, list | tuple | dict):
            for value in values.values() if isinstance(values, dict) else values:
                self.fix(value)
        return None


def trace_channels(network: nn.Module) -> list[Channels]:
    """Find the groups of channels of which some may leave.

    Source: Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, section 3.2, along the layers instead of autograd's graph.

    Raises:
        UserError: if torch.fx cannot trace the network, or none of its channels may leave.
    """
    training = network.training
    try:
        follower = ChannelTracer(network.eval())
        follower.run(*[None] * follower.num_inputs)
    except Exception as error:  # a network's own code may fail in any way on what is no tensor
        reason = " ".join(str(error).split())[:80]
        raise UserError(
            f"expected a network that torch.fx can trace; {type(network).__name__} cannot be ({reason}); prune another"
        ) from error
    finally:
        network.train(training)
    if groups := follower.groups():
        return groups
    raise UserError(
        f"expected convolutions or linear layers whose channels can be followed; {type(network).__name__} has none; prune another"
    )


def take(state: dict[str, Tensor], kept: list[tuple[Channels, Tensor]]) -> dict[str, Tensor]:
    """Give a state dict with those channels only: for each group the numbers of the kept ones, int64 (k,)."""
    state = dict(state)
    for channels, numbers in kept:
        for name, dim in channels.places:
            pixels = state[name].shape[dim] // channels.size
            rows = (numbers[:, None] * pixels + torch.arange(pixels)).flatten()
            state[name] = state[name].index_select(dim, rows.to(state[name].device))
    return state


def narrow_network(
    network: NetworkSpec, num_classes: int, in_channels: int, image_size: tuple[int, int], keep_fraction: float = 0.5
) -> nn.Module:
    """Build a network with a share of the channels of each layer; those that add up with others agree.

    Args:
        network: `class_path` and `init_args` of the wide network.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels.
        keep_fraction: Share of the channels, in (0, 1].

    Raises:
        UserError: if the share is out of range, or the network cannot be traced.
    """
    if not 0 < keep_fraction <= 1:
        raise UserError(f"expected keep_fraction in (0, 1]; got {keep_fraction}; set it in the config of the network")
    if not set(network) <= {"class_path", "init_args"}:  # the command line puts a dotted key into a dict as it is
        raise UserError(
            f"expected class_path and init_args of the wide network; got {', '.join(network)}; give it as a whole"
        )
    wide, told = build_network(
        network, {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    )
    if in_channels == 1 and "in_channels" not in told:
        raise UserError(
            f"{network['class_path']} takes RGB only, and the images are grey; take leyden.models.TorchvisionNet for torchvision's networks"
        )
    groups = trace_channels(wide)
    state = take(
        wide.state_dict(), [(group, torch.arange(max(1, round(group.size * keep_fraction)))) for group in groups]
    )
    for path, layer in wide.named_modules():
        resize(
            layer,
            {name: state[f"{path}.{name}"] for name in layer._parameters | layer._buffers if f"{path}.{name}" in state},
        )
    return wide


def resize(layer: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give a layer other tensors, and the sizes that they have."""
    if all(tensor.shape == getattr(layer, name).shape for name, tensor in tensors.items()):
        return
    for name, tensor in tensors.items():
        setattr(layer, name, nn.Parameter(tensor) if name in layer._parameters else tensor)
    size_out = len(tensors["weight" if "weight" in tensors else "running_mean"])
    if isinstance(layer, CONVOLUTIONS):
        layer.groups = layer.groups if layer.groups == 1 else size_out
        layer.in_channels, layer.out_channels = tensors["weight"].shape[1] * layer.groups, size_out
    elif isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = tensors["weight"].shape[1], size_out
    elif isinstance(layer, _BatchNorm):
        layer.num_features = size_out


def select_channels(wide: nn.Module, narrow: dict[str, Tensor]) -> dict[str, Tensor]:
    """Choose from a wide network's channels as many as a narrow one has, and give the weights that remain.

    A channel's strength is the sum of its squared weights in all layers that give or read it, each relative to the layer's mean.

    Source: Fang et al., 2023, section 3.3, equation 3.

    Args:
        wide: A trained network.
        narrow: State dict of one of the same layers, with as many or fewer channels.
    """
    state, kept = wide.state_dict(), []
    for group in trace_channels(wide):
        name, dim = group.places[0]
        if name not in narrow or narrow[name].ndim <= dim:
            continue
        wanted = group.size * narrow[name].shape[dim] // state[name].shape[dim]
        strength = torch.zeros(group.size)
        for name, dim in group.places:
            if name.endswith(".weight"):
                squares = state[name].float().movedim(dim, 0).reshape(group.size, -1).square().sum(dim=1)
                strength += squares / squares.mean().clamp(min=1e-12)
        kept.append((group, strength.topk(min(wanted, group.size)).indices.sort().values))
    return take(state, kept)
