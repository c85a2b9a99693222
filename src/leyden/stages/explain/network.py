"""A network prepared for attribution: faster with the same logits, and in the form that Captum's hooks need."""

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from leyden.models.batch_norm_folding import fold_batch_norms
from leyden.models.layer_outputs import leaf_layers, record_outputs

ACTIVATION_MB = 64  # of one pass; working sets far beyond the CPU's cache cost 1.6 to 2.4 times as much
MAX_BATCH_SIZE = 64
RELU_FUNCTIONS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")


class NotApplicableError(Exception):
    """A method's maps would not be valid for a network; the message is shown to the user."""


class ExplainedNetwork(nn.Module):
    """A frozen copy of a network with folded batch norms, in which each call of a ReLU is a module, not in place.

    Attribution methods hook modules: a ReLU that is a function, that is called twice, or whose input is also read
    elsewhere gives wrong maps without an error.
    """

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        """Copy and rewrite the network, and record the shapes of its layers' outputs.

        Args:
            network: Maps preprocessed images to logits; it is not changed.
            inputs: Some preprocessed images (B, C, H, W), for which the copy must give the same logits.
        """
        super().__init__()
        self.original = copy.deepcopy(network).eval().requires_grad_(False)
        rewritten = rewrite(self.original, inputs[:2])
        self.is_rewritten = rewritten is not None
        self.network = self.original if rewritten is None else rewritten
        with torch.enable_grad():
            self.outputs = record_outputs(self.network, leaf_layers(self.network), inputs[:1])
        num_bytes = inputs[:1].nbytes + sum(output.num_bytes for output in self.outputs)
        self.batch_size = max(1, min(MAX_BATCH_SIZE, ACTIVATION_MB * 2**20 // num_bytes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map preprocessed images (B, C, H, W) to logits (B, K)."""
        return self.network(inputs)

    def predict(self, inputs: Tensor) -> Tensor:
        """Return logits (N, K) of any number of images, without gradients."""
        with torch.no_grad():
            return torch.cat([self.network(batch) for batch in inputs.split(self.batch_size)])


def rewrite(network: nn.Module, inputs: Tensor) -> nn.Module | None:
    """Fold batch norms and separate ReLUs; None if torch.fx cannot trace the network, or the logits would change."""
    try:
        rewritten = separate_relus(fold_batch_norms(network)).requires_grad_(False).eval()
        # With gradients: some networks take a different path without them, and methods need gradients.
        with torch.enable_grad():
            is_same = torch.allclose(rewritten(inputs), network(inputs), rtol=1e-3, atol=1e-4)
    except Exception:  # tracing runs the network's own code on proxies: nearly anything may be raised
        return None
    return rewritten if is_same else None


def separate_relus(traced: fx.GraphModule) -> fx.GraphModule:
    """Turn each call of a ReLU, module or function, into a separate module that reads a copy of its input."""
    modules, names = dict(traced.named_modules()), set()
    for number, node in enumerate(list(traced.graph.nodes)):
        is_module = node.op == "call_module" and isinstance(modules[node.target], nn.ReLU)
        if is_module or (node.op in ("call_function", "call_method") and node.target in RELU_FUNCTIONS):
            name = node.target if is_module and node.target not in names else f"relu_{number}"
            names.add(name)
            traced.add_submodule(name, nn.ReLU())
            with traced.graph.inserting_before(node):
                source = node.args[0] if node.args else node.kwargs["input"]
                copied = traced.graph.call_function(torch.clone, (source,))
                node.replace_all_uses_with(traced.graph.call_module(name, (copied,)))
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
