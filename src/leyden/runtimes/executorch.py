"""ExecuTorch programs (.pte), in the interpreter that its Python package brings."""

import warnings
from pathlib import Path

import numpy as np
import torch

from leyden.runtimes import Run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that its interface is experimental: pyproject.toml bounds it
    from executorch.runtime import Runtime, Verification

    Runtime.get()


def read(path: Path, trust: bool) -> tuple[Run, str]:
    program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
    description = program.load_method("leyden").execute([])[0] if "leyden" in program.method_names else ""
    forward = program.load_method("forward")

    def run(images: np.ndarray) -> np.ndarray:
        return (
            forward.execute([torch.from_numpy(np.ascontiguousarray(images))])[0].numpy().copy()
        )  # the runtime uses its memory again

    return run, description
