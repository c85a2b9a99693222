"""C++ source compiled on first use, and kept in the user's cache; plain C entry points, so that no torch headers are compiled."""

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
# Apple's compiler has no OpenMP; without it a kernel runs on one thread.
THREADS = (("-fopenmp",), ())
TIME_LIMIT_S = 120


@functools.cache
def load_library(source: Path) -> ctypes.CDLL | None:
    """Load the shared library of a C++ source, built where the cache holds none; `CXX` names the compiler.

    Returns:
        The library, whose calls release the GIL; None, after a warning, where it cannot be built.
    """
    try:
        return ctypes.CDLL(str(find_library(source)))
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        reason = " ".join(str(error).split())
        warnings.warn(
            f"{source.name}: no compiled kernel, plain torch is used, slower; install a C++ compiler or set CXX ({reason})",
            stacklevel=2,
        )
        return None


def find_library(source: Path) -> Path:
    """Find the library in the cache, or build it; two processes at once each put the same whole file in place."""
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    sources = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h")))]
    key = hashlib.sha256(
        repr((sources, compiler, FLAGS, THREADS, platform.platform(), read_cpu())).encode()
    ).hexdigest()
    library = cache_folder() / f"{source.stem}-{key[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            build_library(compiler, source, Path(scratch, library.name)).replace(library)
    return library


def build_library(compiler: list[str], source: Path, library: Path) -> Path:
    """Compile the source, with threads where the compiler can.

    Raises:
        RuntimeError: if the compiler fails.
    """
    for threads in THREADS:
        command = [*compiler, *FLAGS, *threads, str(source), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S)
        if done.returncode == 0:
            return library
    raise RuntimeError(f"{shlex.join(compiler)} ended with {done.returncode}: {done.stderr[:300]}")


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leyden"


def read_cpu() -> list[str]:
    """List what this processor can do: code built for it may not run on another that shares the home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return [platform.processor()]
    return sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
