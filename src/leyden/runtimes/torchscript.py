"""TorchScript files, run by PyTorch. They are code: a program may write files."""

import warnings
from pathlib import Path

import torch

from leyden.runtimes import ModelFunction
from leyden.runtimes.checkpoint import array_function
from leyden.trust.archives import check_archive
from leyden.trust.records import require_trust


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    check_archive(path)
    require_trust(path, trust, "a TorchScript program")
    extra = {"leyden.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is deprecated, as documented
        module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    description = extra["leyden.json"]
    return array_function(module), description.decode() if isinstance(description, bytes) else description
