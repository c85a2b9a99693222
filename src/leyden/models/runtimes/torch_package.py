"""torch's .pt2 files: programs of torch.export, and packages that AOTInductor compiled."""

import warnings
import zipfile
from pathlib import Path

import torch

from leyden.models.runtimes import Run
from leyden.models.runtimes.checkpoint import run_of

DESCRIPTION = "extra/leyden.json"  # below the archive's root


def read(path: Path) -> tuple[Run, str]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        description = next((archive.read(name).decode() for name in names if name.endswith("/" + DESCRIPTION)), "")
    if any("/data/aotinductor/" in name for name in names):
        from torch._inductor import aoti_load_package

        return run_of(aoti_load_package(str(path))), description
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")  # torch 2.11 warns of its own reader
        return run_of(torch.export.load(path).module()), description
