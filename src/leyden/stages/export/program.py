"""Programs of torch.export, from which most formats are made."""

import torch
from torch import nn

from leyden.stages.export.export_request import ExportRequest, cast_model

MAX_BATCH = 1 << 20


def trace(request: ExportRequest, batch_size: int = 2, max_batch: int = MAX_BATCH) -> torch.export.ExportedProgram:
    """Trace the model in the requested precision, with a dynamic batch (and time); record the step `exported`."""
    program = trace_module(cast_model(request), request, batch_size, max_batch)
    request.steps["exported"] = program.module()
    return program


def trace_module(
    module: nn.Module, request: ExportRequest, batch_size: int = 2, max_batch: int = MAX_BATCH
) -> torch.export.ExportedProgram:
    spec = request.input_spec
    inputs, shapes = spec.example_inputs(batch_size), spec.dynamic_shapes(max_batch)
    program = torch.export.export(module, inputs, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it contains paths of this machine
    return program
