"""AOTInductor: the model compiled to this kind of processor, for torch's C++ or Python runtime without this package's code."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch._inductor.runtime.cache_dir_utils import cache_dir

from leyden.stages.export.archive import rewrite, without_local_paths
from leyden.stages.export.program import trace
from leyden.stages.export.request import CannotWriteError, Request

SUFFIX = ".aoti.pt2"
PRECISIONS = ("fp32", "bf16", "int8")
BRANCHES = ("fp32", "bf16")

# Constants are frozen into an 8-bit program only: its weights would else be quantised at every call.
COMPILE = """
import sys, torch, torchao.quantization.pt2e
program = torch.export.load(sys.argv[1])
with torch._inductor.config.patch(freezing=sys.argv[3] == "int8"), torch.no_grad():
    torch._inductor.aoti_compile_and_package(program, package_path=sys.argv[2])
"""


def write(request: Request) -> Callable[[], None]:
    """Start to compile a package with a dynamic batch, in a process of its own; its metadata will be in the extra file leyden.json.

    Returns:
        A function that waits for it: compiling takes longer than all other formats together.
    """
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise CannotWriteError("it needs a C++ compiler (g++)")
    folder = tempfile.TemporaryDirectory()
    program = Path(folder.name, "program.pt2")
    torch.export.save(trace_int8(request) if request.precision == "int8" else trace(request), program)
    code = COMPILE if request.precision == "int8" else COMPILE.replace(", torchao.quantization.pt2e", "")
    command = [sys.executable, "-P", "-c", code, str(program), str(request.path), request.precision]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")

    def finish() -> None:
        _, said = process.communicate()
        folder.cleanup()
        if process.returncode:
            raise CannotWriteError(f"it could not be compiled: {(said.strip().splitlines() or [''])[-1][:200]}")
        rewrite(request.path, clean, {"extra/leyden.json": request.metadata})

    return finish


def trace_int8(request: Request) -> torch.export.ExportedProgram:
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    from leyden.stages.export.quantised import trace_quantised

    return trace_quantised(
        request, x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    )


def clean(name: str, content: bytes) -> tuple[str, bytes] | None:
    """Leave out what tells of this machine: sources, debug information, paths, and names that are hashes of paths."""
    if name.endswith((".cpp", ".kernel_metadata.json", "serialization_id")):
        return None
    if name.endswith(".so"):
        return "data/aotinductor/model/model.wrapper.so", without_local_paths(stripped(content), Path(cache_dir()))
    if name.endswith(".wrapper_metadata.json"):
        return "data/aotinductor/model/model.wrapper_metadata.json", json.dumps(
            json.loads(content), sort_keys=True
        ).encode()
    return name, content


def stripped(library: bytes) -> bytes:
    """Strip a shared library of symbols and debug information."""
    if (strip := shutil.which("strip")) is None:
        return library
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.so")
        path.write_bytes(library)
        subprocess.run(
            [strip, "--strip-all", "--remove-section=.note.gnu.build-id", "--remove-section=.comment", str(path)],
            check=True,
        )
        return path.read_bytes()
