"""ExecuTorch programs (.pte), run by the interpreter in ExecuTorch's Python package."""

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from leyden.errors import UserError
from leyden.runtimes import ModelFunction

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns that its interface is experimental: pyproject.toml bounds the version
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # torchao, which it imports, uses an old interface
    from executorch.runtime import Runtime, Verification

    Runtime.get()

IDENTIFIER = re.compile(rb"....ET\d\d", re.DOTALL)  # ExecuTorch ends the process at one that is not text


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    with open(path, "rb") as file:
        if not IDENTIFIER.match(file.read(8)):
            raise UserError(f"expected an ExecuTorch program; {path} has a different format; export it again")
    with no_native_messages():
        program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
        description = program.load_method("leyden").execute([])[0] if "leyden" in program.method_names else ""
        forward = program.load_method("forward")

    def run(images: np.ndarray) -> np.ndarray:
        with no_native_messages():
            outputs = forward.execute([torch.from_numpy(np.ascontiguousarray(images))])
        return outputs[0].numpy().copy()  # the runtime reuses the memory of its outputs

    return run, description


@contextlib.contextmanager
def no_native_messages() -> Iterator[None]:
    """Discard what C++ code writes to stderr: how it finds the processor's type, and errors, which it also raises."""
    try:
        saved = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
