"""TorchScript files."""

import warnings
from pathlib import Path

import torch

from leyden.models.runtimes import Run
from leyden.models.runtimes.checkpoint import run_of


def read(path: Path) -> tuple[Run, str]:
    extra = {"leyden.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch deprecates TorchScript: it is labelled legacy
        module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    description = extra["leyden.json"]
    return run_of(module), description.decode() if isinstance(description, bytes) else description
