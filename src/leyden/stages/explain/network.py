"""A network made ready for attribution: quicker where the answer stays the same, and in the shape that Captum's hooks need."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

ACTIVATION_MB = 64  # of one pass; working sets far beyond the CPU's cache cost 1.6 to 2.4 times as much
MAX_BATCH_SIZE = 64
RECTIFIERS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")


class Refused(Exception):  # noqa: N818 - no error
    """Why a method says nothing true about a network, in words for the user."""


class Output(NamedTuple):
    """What a layer gave for one image."""

    layer: str
    shape: tuple[int, ...]


class ExplainedNetwork(nn.Module):
    """A frozen copy of a network: norms folded into convolutions, each call of a ReLU a module of its own, not in place.

    Methods hook modules: a ReLU that is a function, re-used, or whose input goes elsewhere too misleads them without an error.
    """

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        """Copy and rewrite the network; look at what its layers give.

        Args:
            network: Maps preprocessed images to logits; it stays as it is.
            inputs: Some preprocessed images (B, C, H, W): the copy must give the same logits for them.
        """
        super().__init__()
        self.original = copy.deepcopy(network).eval().requires_grad_(False)
        rewritten = rewrite(self.original, inputs[:2])
        self.rewritten = rewritten is not None
        self.network = self.original if rewritten is None else rewritten
        self.outputs, size = watch(self.network, inputs[:1])
        self.batch_size = max(1, min(MAX_BATCH_SIZE, ACTIVATION_MB * 2**20 // size))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map preprocessed images (B, C, H, W) to logits (B, K)."""
        return self.network(inputs)

    def predict(self, inputs: Tensor) -> Tensor:
        """Give logits (N, K) of any number of images, in float32 and without gradients."""
        with torch.no_grad():
            return torch.cat([self.network(batch) for batch in inputs.split(self.batch_size)])


def rewrite(network: nn.Module, inputs: Tensor) -> nn.Module | None:
    """Fold norms and separate ReLUs; None where torch.fx cannot follow the network, or the logits would change."""
    try:
        graph = separate_rectifiers(fold_norms(fx.symbolic_trace(network))).requires_grad_(False).eval()
        with (
            torch.enable_grad()
        ):  # a network that takes another way without gradients is explained on the way with them
            same = torch.allclose(graph(inputs), network(inputs), rtol=1e-3, atol=1e-4)
    except Exception:  # tracing runs the network's own code on proxies: nearly anything may be raised
        return None
    return graph if same else None


def fold_norms(graph: fx.GraphModule) -> fx.GraphModule:
    """Take batch norms into the convolutions that nothing else reads."""
    modules = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and isinstance(modules[node.target], nn.BatchNorm2d):
            before = node.args[0]
            if (
                before.op == "call_module"
                and isinstance(layer := modules[before.target], nn.Conv2d)
                and len(before.users) == 1
            ):
                graph.add_submodule(before.target, fuse_conv_bn_eval(layer, modules[node.target]))
                node.replace_all_uses_with(before)
                graph.graph.erase_node(node)
    graph.recompile()
    return graph


def separate_rectifiers(graph: fx.GraphModule) -> fx.GraphModule:
    """Make each call of a ReLU, module or function, a module of its own that reads a copy of its input, which nothing else does."""
    modules, names = dict(graph.named_modules()), set()
    for number, node in enumerate(list(graph.graph.nodes)):
        is_module = node.op == "call_module" and isinstance(modules[node.target], nn.ReLU)
        if is_module or (node.op in ("call_function", "call_method") and node.target in RECTIFIERS):
            name = node.target if is_module and node.target not in names else f"relu_{number}"
            names.add(name)
            graph.add_submodule(name, nn.ReLU())
            with graph.graph.inserting_before(node):
                own = graph.graph.call_function(torch.clone, (node.args[0] if node.args else node.kwargs["input"],))
                node.replace_all_uses_with(graph.graph.call_module(name, (own,)))
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def watch(network: nn.Module, inputs: Tensor) -> tuple[list[Output], int]:
    """List what the layers give for one image, in order, and how many bytes that is in all."""
    found, size = [], [inputs.nbytes]

    def note(name: str) -> object:
        def hook(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                found.append(Output(name, tuple(output.shape)))
                size.append(output.nbytes)

        return hook

    leaves = [(name, layer) for name, layer in network.named_modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(note(name)) for name, layer in leaves]
    try:
        with torch.enable_grad():
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found, sum(size)
