"""C++ source files, compiled on first use and cached per user; with plain C functions they need no torch headers."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
import warnings
from pathlib import Path

# No contraction: a fused multiply-add rounds once where torch's eager operations round twice.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fPIC", "-shared")
# Tried in this order: Apple's compiler has no OpenMP, and a kernel built without it runs on one thread.
OPENMP_FLAGS = (("-fopenmp",), ())
TIMEOUT_S = 120


@functools.cache
def load_library(source: Path) -> ctypes.CDLL | None:
    """Load the shared library of a C++ source file, compiling it if it is not in the cache; `CXX` names the compiler.

    Returns:
        The library, whose calls release the GIL; None, after a warning, if it cannot be compiled.
    """
    try:
        return ctypes.CDLL(str(find_library(source)))
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        reason = " ".join(str(error).split())
        warnings.warn(
            f"expected to compile {source.name}; got: {reason}; install a C++ compiler or set CXX "
            "(until then, plain torch is used, which is slower)",
            stacklevel=2,
        )
        return None


def find_library(source: Path) -> Path:
    """Return the library's path in the cache, compiling it first if needed; several processes may do so at once."""
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    sources = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h")))]
    key = repr((sources, compiler, FLAGS, OPENMP_FLAGS, platform.platform(), read_cpu_features()))
    library = cache_folder() / f"{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            compile_library(compiler, source, Path(folder, library.name)).replace(library)
    return library


def compile_library(compiler: list[str], source: Path, library: Path) -> Path:
    """Compile a source file, with OpenMP if the compiler supports it."""
    for openmp_flags in OPENMP_FLAGS:
        command = [*compiler, *FLAGS, *openmp_flags, str(source), "-o", str(library)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        if result.returncode == 0:
            return library
    raise RuntimeError(f"{shlex.join(compiler)} exited with {result.returncode}: {result.stderr[:300]}")


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leyden"


def read_cpu_features() -> list[str]:
    """List this processor's features: code compiled for it may not run on another one that shares the home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return [platform.processor()]
    return sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
