"""Checkpoints, run by PyTorch as in training: the reference for every exported file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leyden.models.checkpoint import load_checkpoint
from leyden.runtimes import ModelFunction


def read(path: Path, trust: bool) -> tuple[ModelFunction, dict[str, Any]]:
    model = load_checkpoint(path, trust=trust)
    return array_function(model), model.spec


def array_function(module: Callable[..., Tensor]) -> ModelFunction:
    """Wrap a function of tensors as a function of arrays."""

    @torch.inference_mode()
    def run(*inputs: np.ndarray) -> np.ndarray:
        return module(*map(torch.from_numpy, inputs)).numpy()

    return run
