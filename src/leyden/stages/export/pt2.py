"""torch.export: a program that torch runs without this package's code, or compiles further."""

import torch

from leyden.stages.export.export_request import ExportRequest
from leyden.stages.export.program import trace

SUFFIX = ".pt2"
PRECISIONS = ("fp32", "fp16", "bf16")
SEQUENCE_PRECISIONS = ("fp32",)
BRANCHING_PRECISIONS = PRECISIONS


def write(request: ExportRequest) -> None:
    """Write a .pt2 file with a dynamic batch (and time); its metadata is in the extra file leyden.json."""
    torch.export.save(trace(request), request.path, extra_files={"leyden.json": request.metadata})
