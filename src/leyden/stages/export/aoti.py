"""AOTInductor: the model compiled to this kind of processor, for torch's C++ or Python runtime without this package's code."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch._inductor import aoti_compile_and_package
from torch._inductor import config as inductor_config

from leyden.stages.export.archive import rewrite, without_local_paths
from leyden.stages.export.program import trace
from leyden.stages.export.request import CannotWriteError, Request

SUFFIX = ".aoti.pt2"
PRECISIONS = ("fp32", "bf16", "int8")


def write(request: Request) -> None:
    """Compile a package with a dynamic batch; its metadata is in the extra file leyden.json."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise CannotWriteError("it needs a C++ compiler (g++)")
    program = trace_int8(request) if request.precision == "int8" else trace(request)
    with inductor_config.patch(freezing=request.precision == "int8"), torch.no_grad():
        aoti_compile_and_package(program, package_path=str(request.path))
    rewrite(request.path, clean, {"extra/leyden.json": request.metadata})


def trace_int8(request: Request) -> torch.export.ExportedProgram:
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    from leyden.stages.export.quantised import trace_quantised

    return trace_quantised(request, x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config()))


def clean(name: str, content: bytes) -> tuple[str, bytes] | None:
    """Leave out what tells of this machine: sources, debug information, paths, and names that are hashes of paths."""
    if name.endswith((".cpp", ".kernel_metadata.json", "serialization_id")):
        return None
    if name.endswith(".so"):
        return "data/aotinductor/model/model.wrapper.so", without_local_paths(stripped(content))
    if name.endswith(".wrapper_metadata.json"):
        return "data/aotinductor/model/model.wrapper_metadata.json", json.dumps(json.loads(content), sort_keys=True).encode()
    return name, content


def stripped(library: bytes) -> bytes:
    """Strip a shared library of symbols and debug information."""
    if (strip := shutil.which("strip")) is None:
        return library
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.so")
        path.write_bytes(library)
        subprocess.run([strip, "--strip-all", "--remove-section=.note.gnu.build-id", "--remove-section=.comment", str(path)], check=True)
        return path.read_bytes()
