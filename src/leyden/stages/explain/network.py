"""A network prepared for attribution: faster with the same outputs, and in the form that Captum's hooks need."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from leyden.models.batch_norm_folding import fold_batch_norms
from leyden.models.layer_outputs import LayerOutput, last_spatial_output, leaf_layers, record_outputs
from leyden.outputs.reader import OutputReader

ACTIVATION_MB = 64  # of one pass; working sets far beyond the CPU's cache cost 1.6 to 2.4 times as much
MAX_BATCH_SIZE = 64
RELU_FUNCTIONS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")


class NotApplicableError(Exception):
    """A method's maps would not be valid for a network; the message is shown to the user."""


class ExplainedOutputs(nn.Module):
    """A network that returns the number of each label that attributions explain."""

    def __init__(self, network: nn.Module, reader: OutputReader) -> None:
        super().__init__()
        self.network, self.reader = network, reader

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map the network's inputs, and the reference of the outputs for them, to explained outputs (B, K)."""
        *network_inputs, reference = inputs
        return self.reader.explained_outputs(self.network(*network_inputs), reference)


class ExplainedNetwork(ExplainedOutputs):
    """A frozen copy of a network with folded batch norms, in which each call of a ReLU is a module, not in place.

    Attribution methods hook modules: a ReLU that is a function, that is called twice, or whose input is also read
    elsewhere gives wrong maps without an error.
    """

    def __init__(self, network: nn.Module, inputs: Tensor, reader: OutputReader) -> None:
        """Copy and rewrite the network, and record the shapes of its layers' outputs.

        Args:
            network: Maps preprocessed images to outputs; it is not changed.
            inputs: Some preprocessed images (B, C, H, W), for which the copy must give the same outputs.
            reader: What the outputs mean.
        """
        original = copy.deepcopy(network).eval().requires_grad_(False)
        rewritten = rewrite(original, inputs[:2])
        super().__init__(original if rewritten is None else rewritten, reader)
        self.original, self.is_rewritten = original, rewritten is not None
        with torch.enable_grad():
            self.outputs = record_outputs(self.network, leaf_layers(self.network), inputs[:1])
        num_bytes = inputs[:1].nbytes + sum(output.num_bytes for output in self.outputs)
        self.batch_size = max(1, min(MAX_BATCH_SIZE, ACTIVATION_MB * 2**20 // num_bytes))

    def predict(self, inputs: Tensor, reference: Tensor) -> Tensor:
        """Return the explained outputs (N, K) for any number of images, without gradients."""
        return self._by_batch(self.forward, inputs, reference)

    def respond(self, inputs: Tensor, reference: Tensor) -> Tensor:
        """Return what deletion and insertion curves follow, (N, K) in [0, 1], for any number of images."""
        return self._by_batch(lambda *batch: self.reader.response(self.network(batch[0]), batch[1]), inputs, reference)

    def _by_batch(self, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        with torch.no_grad():
            batches = zip(*(each.split(self.batch_size) for each in tensors), strict=True)
            return torch.cat([function(*batch) for batch in batches])


def deepest_spatial_output(outputs: list[LayerOutput], is_dense: bool) -> LayerOutput | None:
    """Return the output with spatial dimensions that says most about what a network has found, if there is one.

    It is the last one: that of the layer before the pooling. Where the network's outputs have a value per pixel, it is
    the end of the encoder: of the outputs of the lowest resolution, the last one with the most channels.

    Source: Vinogradova et al., "Towards interpretable semantic segmentation via gradient-weighted class activation
    mapping", 2020, section 3.
    """
    if is_dense:
        spatial = [output for output in outputs if output.is_spatial]
        # Of equals, max() returns the first.
        return max(reversed(spatial), key=lambda each: (-each.shape[2] * each.shape[3], each.shape[1]), default=None)
    return last_spatial_output(outputs)


def rewrite(network: nn.Module, inputs: Tensor) -> nn.Module | None:
    """Fold batch norms and separate ReLUs; None if torch.fx cannot trace the network, or the outputs would change."""
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
