"""AOTInductor: the model compiled for this type of processor; torch's C++ or Python runtime runs it."""

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

from leyden.stages.export.archive import blank_local_paths, rewrite_archive
from leyden.stages.export.export_request import CannotWriteError, ExportRequest
from leyden.stages.export.program import trace

SUFFIX = ".aoti.pt2"
PRECISIONS = ("fp32", "bf16", "int8")
BRANCHING_PRECISIONS = ("fp32", "bf16")

# Constants are frozen into 8-bit programs only: otherwise, their weights would be quantised at every call.
COMPILE = """
import sys, torch, torchao.quantization.pt2e
program = torch.export.load(sys.argv[1])
with torch._inductor.config.patch(freezing=sys.argv[3] == "int8"), torch.no_grad():
    torch._inductor.aoti_compile_and_package(program, package_path=sys.argv[2])
"""


def write(request: ExportRequest) -> Callable[[], None]:
    """Start compiling a package with a dynamic batch in a separate process; its metadata is in its file leyden.json.

    Returns:
        A function that waits until it is compiled, which takes longer than writing all other formats.
    """
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise CannotWriteError("needs a C++ compiler (g++)")
    folder = tempfile.TemporaryDirectory()
    program = Path(folder.name, "program.pt2")
    is_int8 = request.precision == "int8"
    torch.export.save(trace_int8(request) if is_int8 else trace(request), program)
    code = COMPILE if is_int8 else COMPILE.replace(", torchao.quantization.pt2e", "")
    command = [sys.executable, "-P", "-c", code, str(program), str(request.path), request.precision]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")

    def finish() -> None:
        _, stderr = process.communicate()
        folder.cleanup()
        if process.returncode:
            raise CannotWriteError(f"could not be compiled: {(stderr.strip().splitlines() or [''])[-1][:200]}")
        rewrite_archive(request.path, clean_member, {"extra/leyden.json": request.metadata})

    return finish


def trace_int8(request: ExportRequest) -> torch.export.ExportedProgram:
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    from leyden.stages.export.quantised import trace_quantised

    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    return trace_quantised(request, quantizer)


def clean_member(name: str, content: bytes) -> tuple[str, bytes] | None:
    """Remove what depends on this machine: sources, debug information, paths, and names that are hashes of paths."""
    if name.endswith((".cpp", ".kernel_metadata.json", "serialization_id")):
        return None
    if name.endswith(".so"):
        return "data/aotinductor/model/model.wrapper.so", blank_local_paths(strip_symbols(content), Path(cache_dir()))
    if name.endswith(".wrapper_metadata.json"):
        content = json.dumps(json.loads(content), sort_keys=True).encode()
        return "data/aotinductor/model/model.wrapper_metadata.json", content
    return name, content


def strip_symbols(library: bytes) -> bytes:
    """Remove symbols and debug information from a shared library, if `strip` is installed."""
    if (strip := shutil.which("strip")) is None:
        return library
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.so")
        path.write_bytes(library)
        sections = ["--remove-section=.note.gnu.build-id", "--remove-section=.comment"]
        subprocess.run([strip, "--strip-all", *sections, str(path)], check=True)
        return path.read_bytes()
