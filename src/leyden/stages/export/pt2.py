"""torch.export: a program that torch runs without this package's code, and the source of further compilation."""

import torch

from leyden.stages.export.program import trace
from leyden.stages.export.request import Request

SUFFIX = ".pt2"
PRECISIONS = ("fp32", "fp16", "bf16")
SEQUENCES = ("fp32",)
BRANCHES = PRECISIONS


def write(request: Request) -> None:
    """Write a .pt2 file with a dynamic batch (and time); its metadata is in the extra file leyden.json."""
    torch.export.save(trace(request), request.path, extra_files={"leyden.json": request.metadata})
