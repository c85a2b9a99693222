"""torch's .pt2 files: programs of torch.export, which are data, and packages of AOTInductor, which are code."""

import json
import warnings
import zipfile
from pathlib import Path

import torch

from leyden.runtimes import ModelFunction, check_not_own_module
from leyden.runtimes.checkpoint import array_function
from leyden.runtimes.program import load_program
from leyden.trust.archives import check_archive
from leyden.trust.records import is_trusted, require_trust

DESCRIPTION = "extra/leyden.json"  # relative to the archive's root


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        description = next((archive.read(name).decode() for name in names if name.partition("/")[2] == DESCRIPTION), "")
    check_not_own_module(json.loads(description or "{}"), path)
    if any("aotinductor" in name.lower() for name in names):
        require_trust(path, trust, "AOTInductor's library")
        from torch._inductor import aoti_load_package

        return array_function(aoti_load_package(str(path))), description
    if not is_trusted(path, trust):
        return array_function(load_program(path)), description
    with warnings.catch_warnings():
        # torch 2.11 warns about its own reader.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return array_function(torch.export.load(path).module()), description
