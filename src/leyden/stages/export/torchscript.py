"""TorchScript, a legacy format that PyTorch no longer develops, for programs that already read it.

It keeps branches that depend on the data.
"""

import io
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.models.image_model import ImageModel
from leyden.stages.export.archive import rewrite_archive
from leyden.stages.export.export_request import ExportRequest
from leyden.stages.export.program import trace
from leyden.stages.export.tensor_module import TensorModule

SUFFIX = ".torchscript"
PRECISIONS = SEQUENCE_PRECISIONS = ("fp32",)


class Scriptable(nn.Module):
    """An `ImageModel` without its error messages, which TorchScript cannot express."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: ImageModel) -> None:
        super().__init__()
        preprocess = module.preprocess
        self.height, self.width = preprocess.image_size
        self.expand = preprocess.expand
        network: Any = module.network
        self.network = network.scriptable() if hasattr(network, "scriptable") else network
        self.output = module.output
        self.register_buffer("mean", preprocess.mean)
        self.register_buffer("std", preprocess.std)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.to(self.mean.dtype) / 255
        if pixels.shape[2] != self.height or pixels.shape[3] != self.width:
            pixels = F.interpolate(pixels, [self.height, self.width], mode="bilinear", antialias=True)
        pixels = (pixels - self.mean) / self.std
        if self.expand:
            pixels = pixels.expand(-1, 3, -1, -1)
        return self.output(self.network(pixels))


def write(request: ExportRequest) -> None:
    """Script the model rather than trace it: a trace keeps only one side of a branch.

    A LightningModule of the user's, which refers to its trainer, cannot be scripted: its exported program is traced.
    """
    if isinstance(request.module, TensorModule):
        program = trace(request).module()
        scripted = torch.jit.trace(program, request.module.example_inputs(2), check_trace=False)
    else:
        scripted = torch.jit.script(
            Scriptable(request.module) if isinstance(request.module, ImageModel) else request.module
        )
    # Frozen, since a module's constants are written in the order of a set, which varies between processes.
    scripted = torch.jit.freeze(scripted.eval())
    request.steps["exported"] = scripted
    content = io.BytesIO()  # on a full disk, torch's own writer ends the process
    torch.jit.save(scripted, content, _extra_files={"leyden.json": request.metadata})
    request.path.write_bytes(content.getvalue())
    # Debug information contains paths of this machine, and the id is a hash of them; a program runs without both.
    rewrite_archive(
        request.path,
        lambda name, content: None if name.endswith((".debug_pkl", "serialization_id")) else (name, content),
    )
