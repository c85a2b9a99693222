"""Quantisation in PyTorch (torchao's pt2e): 8-bit weights and activations, scales from real images."""

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import Quantizer

from leyden.runtimes.examples import Examples, batches
from leyden.stages.export.export_request import ExportRequest
from leyden.stages.export.input_spec import to_tensors
from leyden.stages.export.program import MAX_BATCH, trace, trace_module


def trace_quantised(
    request: ExportRequest, quantizer: Quantizer, batch_size: int = 2, max_batch: int = MAX_BATCH
) -> torch.export.ExportedProgram:
    """Trace the model, quantise what `quantizer` selects, calibrate it on the request's images, and trace the result.

    A model from quantisation-aware training needs nothing else: what it learned is in its weights.
    """
    program = trace(request, batch_size, max_batch)
    request.steps["quantised"] = converted = quantise_program(program, quantizer, request.calibration)
    return trace_module(converted, request, batch_size, max_batch)


def quantise_program(program: torch.export.ExportedProgram, quantizer: Quantizer, examples: Examples) -> GraphModule:
    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for batch in batches(examples, 64):
            prepared(*to_tensors(batch))
    return convert_pt2e(prepared)


def layer_of(node: Node) -> str:
    """Return the name of the innermost module that an operator belongs to; empty for one outside all of them."""
    stack = node.meta.get("nn_module_stack") or {"": ("", "")}
    return str(list(stack.values())[-1][0])
