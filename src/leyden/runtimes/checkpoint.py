"""A checkpoint, run by PyTorch as it was trained: what every other file is measured against."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leyden.models.checkpoint import load_checkpoint
from leyden.runtimes import Run


def read(path: Path, trust: bool) -> tuple[Run, dict[str, Any]]:
    model = load_checkpoint(path, trust=trust)
    return array_function(model), model.spec


def array_function(module: Callable[..., Tensor]) -> Run:
    """Make what takes and gives tensors callable with arrays."""

    @torch.inference_mode()
    def run(*inputs: np.ndarray) -> np.ndarray:
        return module(*map(torch.from_numpy, inputs)).numpy()

    return run
