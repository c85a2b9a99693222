"""Programs of torch.export: what most formats are made from."""

import torch
from torch import nn

from leyden.stages.export.request import Request, reduced

MAX_BATCH = 1 << 20


def trace(request: Request, batch_size: int = 2, max_batch: int = MAX_BATCH) -> torch.export.ExportedProgram:
    """Trace the model in the precision asked for, with a dynamic batch (and time); notes the step `exported`."""
    program = trace_module(reduced(request), request, batch_size, max_batch)
    request.steps["exported"] = program.module()
    return program


def trace_module(
    module: nn.Module, request: Request, batch_size: int = 2, max_batch: int = MAX_BATCH
) -> torch.export.ExportedProgram:
    program = torch.export.export(
        module, request.inputs.example(batch_size), dynamic_shapes=request.inputs.dynamic_shapes(max_batch)
    )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds paths of this machine
    return program
