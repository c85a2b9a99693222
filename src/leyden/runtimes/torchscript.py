"""TorchScript files, which are code: their programs may write files."""

import warnings
from pathlib import Path

import torch

from leyden.runtimes import Run
from leyden.runtimes.checkpoint import array_function
from leyden.trust.archives import check_archive
from leyden.trust.records import require_trust


def read(path: Path, trust: bool) -> tuple[Run, str]:
    check_archive(path)
    require_trust(path, trust, "a TorchScript program")
    extra = {"leyden.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch deprecates TorchScript: it is labelled legacy
        module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    description = extra["leyden.json"]
    return array_function(module), description.decode() if isinstance(description, bytes) else description
