"""TorchScript, a legacy format that PyTorch no longer develops: for programs that already read it. It keeps branches that depend on the data."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.models.build import Model
from leyden.models.image_model import ImageModel
from leyden.stages.export.archive import rewrite
from leyden.stages.export.request import Request

SUFFIX = ".torchscript"
PRECISIONS = SEQUENCES = ("fp32",)


class Scriptable(nn.Module):
    """An `ImageModel` without its error messages, which TorchScript cannot express."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: ImageModel) -> None:
        super().__init__()
        preprocess = module.preprocess
        self.height, self.width = preprocess.image_size
        self.expand = preprocess.expand
        self.network = module.network.scriptable() if hasattr(module.network, "scriptable") else module.network  # type: ignore[operator]
        self.register_buffer("mean", preprocess.mean)
        self.register_buffer("std", preprocess.std)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.to(self.mean.dtype) / 255
        if pixels.shape[2] != self.height or pixels.shape[3] != self.width:
            pixels = F.interpolate(pixels, [self.height, self.width], mode="bilinear", antialias=True)
        pixels = (pixels - self.mean) / self.std
        if self.expand:
            pixels = pixels.expand(-1, 3, -1, -1)
        return self.network(pixels)


def scriptable(module: Model) -> nn.Module:
    return Scriptable(module) if isinstance(module, ImageModel) else module


def write(request: Request) -> None:
    """Script the model, never trace it: a trace keeps one side of a branch, and agrees on most images all the same."""
    # Frozen: modules' constants are written in the order of a set, another in each process; a frozen program has none.
    scripted = torch.jit.freeze(torch.jit.script(scriptable(request.module).eval()))
    request.steps["exported"] = scripted
    torch.jit.save(scripted, request.path, _extra_files={"leyden.json": request.metadata})
    # The sources' line numbers hold paths of this machine, and the id is a hash of them; a program runs without.
    rewrite(
        request.path,
        lambda name, content: None if name.endswith((".debug_pkl", "serialization_id")) else (name, content),
        {},
    )
