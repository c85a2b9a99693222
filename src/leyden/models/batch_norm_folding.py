"""Fold batch norms into the convolutions before them."""

from collections import Counter
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> fx.GraphModule:
    """Trace a network, and fold each batch norm into the convolution before it, as runtimes do when they load a file.

    A convolution is folded only if it is called once and nothing else reads its output.

    Args:
        network: A network in evaluation mode. It stays as it is; the result shares its other layers.

    Raises:
        Exception: whatever torch.fx raises for a network that it cannot trace, or the network's own code for a proxy.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", 2018, section 3.2.
    """
    traced = fx.symbolic_trace(network)
    layers: dict[Any, Any] = {
        node: traced.get_submodule(str(node.target)) for node in traced.graph.nodes if node.op == "call_module"
    }
    num_calls = Counter(node.target for node in layers)
    for node, norm in layers.items():
        if not isinstance(norm, _BatchNorm):
            continue
        source: Any = node.args[0]
        layer = layers.get(source)
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and len(source.users) == num_calls[source.target] == 1:
            layers[source] = fuse_conv_bn_eval(layer, norm)
            traced.set_submodule(source.target, layers[source])
            node.replace_all_uses_with(source)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
