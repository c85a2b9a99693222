"""What a model consists of: its layers with their weights and operations, and the exported graph."""

from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from leyden.errors import one_line
from leyden.models.batch_norm_folding import fold_batch_norms
from leyden.models.build import Model
from leyden.models.layer_outputs import leaf_layers, record_outputs
from leyden.stages.export.input_spec import make_input_spec


def inspect_model(module: Model) -> str:
    """Describe a model as text: its layers for one example, how many batch norms fold, and the exported graph."""
    layers = layer_table(module, *make_input_spec(module).example_inputs(1))
    return f"{layers}\n\n{describe_folding(module.network)}\n\n{describe_graph(module)}\n"


@torch.no_grad()
def layer_table(module: nn.Module, *inputs: Tensor) -> str:
    """Format a table of the layers that run: type, output shape, parameters, floating-point operations."""
    layers = leaf_layers(module)
    with FlopCounterMode(display=False) as counter:
        shapes = {output.layer: output.shape for output in record_outputs(module, layers, *inputs)}
    flops = {name.partition(".")[2]: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    rows = [["layer", "kind", "output", "parameters", "FLOPs"]]
    for name, shape in shapes.items():
        kind, size = type(layers[name]).__name__, "x".join(map(str, shape))
        rows.append([name, kind, size, f"{count_parameters(layers[name]):,}", f"{flops.get(name, 0):,}"])
    rows.append(["all", "", "", f"{count_parameters(module):,}", f"{counter.get_total_flops():,}"])
    columns = [(align, max(map(len, cells))) for align, cells in zip("<<<>>", zip(*rows, strict=True), strict=True)]
    aligned = [[f"{cell:{align}{width}}" for cell, (align, width) in zip(row, columns, strict=True)] for row in rows]
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def describe_folding(network: nn.Module) -> str:
    """Describe how many batch norms fold into the layer before them."""
    total = count_batch_norms(network)
    try:
        remaining = count_batch_norms(fold_batch_norms(network))
    except Exception as error:  # branches that depend on data, and whatever else a network's own code raises
        return f"batch norms: {total}; torch.fx cannot trace the network to fold them ({one_line(error)})"
    return f"batch norms: {total}, of which {total - remaining} fold into the layer before them"


def count_batch_norms(network: nn.Module) -> int:
    return sum(isinstance(layer, _BatchNorm) for layer in network.modules())


def describe_graph(module: Model) -> str:
    """Return torch.export's graph with shapes as readable code, and how often each operator occurs in it."""
    spec = make_input_spec(module)
    program = torch.export.export(module, spec.example_inputs(2), dynamic_shapes=spec.dynamic_shapes()).module()
    assert isinstance(program, fx.GraphModule)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it would put a path between any two lines
    operators = Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")
    counts = ", ".join(f"{count} {name}" for name, count in operators.most_common())
    return f"operators: {counts}\n\n{program.print_readable(print_output=False)}"
