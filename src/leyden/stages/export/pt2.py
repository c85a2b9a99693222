"""torch.export: a program that torch runs without this package's code, and the source of further compilation."""

from pathlib import Path

import torch

from leyden.models.image_model import ImageModel


def write(module: ImageModel, path: Path, metadata: str) -> None:
    """Write a .pt2 file with a dynamic batch; labels and input are in its extra file leyden.json."""
    torch.export.save(trace(module), path, extra_files={"leyden.json": metadata})


def trace(module: ImageModel) -> torch.export.ExportedProgram:
    example = torch.zeros(2, module.channels, *module.image_size, dtype=torch.uint8)
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds paths of this machine
    return program
