"""What a model is made of: its layers with their weights and operations, and the graph that is exported."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from leyden.models.build import Model
from leyden.stages.export.inputs import inputs_of


def inspect_model(module: Model) -> str:
    """Describe a model as text: a table of its layers for one example, what folding its batch norms saves, and the exported graph."""
    return (
        "\n\n".join([layer_table(module, *inputs_of(module).example(1)), fold_line(module.network), graph_text(module)])
        + "\n"
    )


@torch.no_grad()
def layer_table(module: nn.Module, *inputs: Tensor) -> str:
    """Lay out each layer that was run: kind, shape that came out, parameters, floating-point operations."""
    shapes: dict[str, Any] = {}
    layers = {name: layer for name, layer in module.named_modules() if not list(layer.children())}
    hooks = [
        layer.register_forward_hook(lambda _, args, out, name=name: shapes.update({name: tuple(out.shape)}))
        for name, layer in layers.items()
    ]
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    for hook in hooks:
        hook.remove()
    flops = {name.partition(".")[2]: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    rows = [["layer", "kind", "output", "parameters", "FLOPs"]]
    for name, shape in shapes.items():
        own = sum(parameter.numel() for parameter in layers[name].parameters())
        rows.append(
            [name, type(layers[name]).__name__, "x".join(map(str, shape)), f"{own:,}", f"{flops.get(name, 0):,}"]
        )
    rows.append(
        [
            "all",
            "",
            "",
            f"{sum(parameter.numel() for parameter in module.parameters()):,}",
            f"{counter.get_total_flops():,}",
        ]
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = [
        [
            cell.rjust(width) if column > 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def fold_norms(network: nn.Module) -> nn.Module:
    """Give a copy in which each batch norm that follows a convolution is part of its weights, as runtimes do when they load a file.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2.
    """
    folded = fx.symbolic_trace(copy.deepcopy(network).eval())
    layers: dict[Any, Any] = {
        node: folded.get_submodule(str(node.target)) for node in folded.graph.nodes if node.op == "call_module"
    }
    calls = Counter(node.target for node in layers)  # a layer that is used twice has two norms
    for node, norm in layers.items():
        if not isinstance(norm, _BatchNorm):
            continue
        before: Any = node.args[0]
        layer = layers.get(before)
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and len(before.users) == calls[before.target] == 1:
            folded.set_submodule(before.target, fuse_conv_bn_eval(layer, norm))
            node.replace_all_uses_with(before)
            folded.graph.erase_node(node)
    folded.delete_all_unused_submodules()
    folded.recompile()
    return folded


def fold_line(network: nn.Module) -> str:
    norms = count_norms(network)
    try:
        left = count_norms(fold_norms(network))
    except Exception as error:  # branches on data, and whatever else torch.fx meets in a network's own code
        return f"batch norms: {norms}; torch.fx cannot trace the network to fold them ({' '.join(str(error).split())[:80]})"
    return f"batch norms: {norms}, of which {norms - left} fold into the layer before them"


def count_norms(network: nn.Module) -> int:
    return sum(isinstance(layer, _BatchNorm) for layer in network.modules())


def graph_text(module: Model) -> str:
    """Give the graph of torch.export with shapes as readable code, and how often each operator is in it."""
    inputs = inputs_of(module)
    program = torch.export.export(module, inputs.example(2), dynamic_shapes=inputs.dynamic_shapes()).module()
    assert isinstance(program, fx.GraphModule)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it would put a path between any two lines
    called = Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")
    counts = ", ".join(f"{count} {name}" for name, count in called.most_common())
    return f"operators: {counts}\n\n{program.print_readable(print_output=False)}"
