"""ExecuTorch programs (.pte), run by the interpreter in ExecuTorch's Python package."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from leyden.runtimes import ModelFunction

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns that its interface is experimental: pyproject.toml bounds the version
    from executorch.runtime import Runtime, Verification

    Runtime.get()

STDERR = 2


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
    description = program.load_method("leyden").execute([])[0] if "leyden" in program.method_names else ""
    with without_stderr():  # it reports which processor it finds
        forward = program.load_method("forward")

    def run(images: np.ndarray) -> np.ndarray:
        outputs = forward.execute([torch.from_numpy(np.ascontiguousarray(images))])
        return outputs[0].numpy().copy()  # the runtime reuses the memory of its outputs

    return run, description


@contextmanager
def without_stderr() -> Iterator[None]:
    """Discard what C++ code writes to stderr."""
    original, sink = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, STDERR)
    try:
        yield
    finally:
        os.dup2(original, STDERR)
        os.close(original)
        os.close(sink)
