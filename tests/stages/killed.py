"""Runs `leyden fit` in each of several folders: first in processes that are killed at given points, then to its end.

This is a program, so that it imports torch once, and forks a process for each attempt before any thread is started.
Usage: python killed.py '{"FOLDER": [["step", 3], ["half_saved", 2], ...], ...}' FIT_ARGUMENT...
It prints the exit codes of each folder as JSON.
"""

import io
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import leyden
import leyden.stages.train
from leyden.cli import main
from leyden.training.resumption import Resume


class DropoutNet(nn.Module):
    """A small network whose training depends on random numbers."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        size = in_channels * image_size[0] * image_size[1]
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(size, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(32, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def save_half(value: Any, file: Any) -> None:
    """Write half of a checkpoint, and die."""
    buffer = io.BytesIO()
    TORCH_SAVE(value, buffer)
    content = buffer.getvalue()
    file.write(content[: len(content) // 2])
    file.flush()
    die()


TORCH_SAVE = torch.save
# The owner and name of a function, whether it is called before the kill, and the function that kills.
KILL_POINTS: dict[str, tuple[Any, str, bool, Callable[..., None]]] = {
    "step": (leyden.SupervisedModule, "training_step", False, die),
    "optimizer": (torch.optim.AdamW, "step", True, die),
    "validation": (leyden.SupervisedModule, "validation_step", False, die),
    "epoch_end": (leyden.SupervisedModule, "on_train_epoch_end", True, die),
    "resumable": (Resume, "save", True, die),
    "half_saved": (torch, "save", False, save_half),
    "saved": (torch, "save", True, die),
    "before_rename": (Path, "replace", False, die),
    "after_rename": (Path, "replace", True, die),
    "publishing": (Path, "rename", False, die),
    "loading": (torch, "load", True, die),
}


def kill_at_call(point: str, number: int) -> None:
    """Patch the function of a kill point, so that its call of this number (from 1) kills the process."""
    owner, name, call_first, kill = KILL_POINTS[point]
    original, calls = getattr(owner, name), itertools.count(1)

    def counted(*args: Any, **kwargs: Any) -> Any:
        is_due = next(calls) == number
        if is_due and not call_first:
            kill(*args, **kwargs)
        result = original(*args, **kwargs)
        if is_due:
            kill()
        return result

    setattr(owner, name, counted)


def run_fit(folder: str, args: list[str], kill: tuple[str, int] | None) -> int:
    """Run fit in a new process; return its exit code, negative if a signal killed it."""
    child = os.fork()
    if not child:
        os.chdir(folder)
        if kill:
            kill_at_call(*kill)
        os._exit(main(["fit", *args]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    exit_codes = {
        folder: [run_fit(folder, sys.argv[2:], kill) for kill in [*kills, None]] for folder, kills in plan.items()
    }
    print(json.dumps(exit_codes))
