"""Quantisation in PyTorch (pt2e of torchao): 8-bit weights and activations, scales from real images."""

import torch
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import Quantizer

from leyden.runtimes.examples import batches
from leyden.stages.export.inputs import tensors
from leyden.stages.export.program import trace, trace_module
from leyden.stages.export.request import Request

CALIBRATION_BATCH = 64


def trace_quantised(
    request: Request, quantizer: Quantizer, batch_size: int = 2, max_batch: int = 1 << 20
) -> torch.export.ExportedProgram:
    """Trace the model, quantise what `quantizer` names, calibrate it on the request's images, and trace the result.

    A model that was trained to be quantised goes the same road: what it learned is in its weights.
    """
    prepared = prepare_pt2e(trace(request, batch_size, max_batch).module(), quantizer)
    with torch.no_grad():
        for batch in batches(request.calibration, min(CALIBRATION_BATCH, max_batch)):
            prepared(*tensors(batch))
    converted: nn.Module = convert_pt2e(prepared)
    request.steps["quantised"] = converted
    return trace_module(converted, request, batch_size, max_batch)
