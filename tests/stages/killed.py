"""In each of some folders, run `leyden fit` again and again in processes that are killed at chosen moments, then once to its end.

A program of its own: it imports torch once, and forks a process per attempt before any thread was started.
Usage: python killed.py '{"FOLDER": [["step", 3], ["half_saved", 2], ...], ...}' FIT_ARGUMENT...
"""

import io
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


class DropoutNet(nn.Module):
    """A small network that draws random numbers in training."""

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
    whole = io.BytesIO()
    SAVE(value, whole)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    die()


SAVE = torch.save
MOMENTS: dict[
    str, tuple[Any, str, bool, Callable[..., None]]
] = {  # owner, name, whether the call is made first, what happens
    "step": (leyden.Classifier, "training_step", False, die),
    "optimizer": (torch.optim.AdamW, "step", True, die),
    "validation": (leyden.Classifier, "validation_step", False, die),
    "epoch_end": (leyden.Classifier, "on_train_epoch_end", True, die),
    "half_saved": (torch, "save", False, save_half),
    "saved": (torch, "save", True, die),
    "before_rename": (Path, "replace", False, die),
    "after_rename": (Path, "replace", True, die),
    "publishing": (Path, "rename", False, die),
    "loading": (torch, "load", True, die),
}


def arm(kind: str, count: int) -> None:
    """Die at the count-th call of a kind."""
    owner, name, first, happen = MOMENTS[kind]
    original, calls = getattr(owner, name), iter(range(1, sys.maxsize))

    def counted(*args: Any, **kwargs: Any) -> Any:
        due = next(calls) == count
        if due and not first:
            happen(*args, **kwargs)
        result = original(*args, **kwargs)
        if due:
            happen()
        return result

    setattr(owner, name, counted)


def attempt(folder: str, args: list[str], moment: tuple[str, int] | None) -> int:
    """Fit in a process of its own; give its exit status, as `os.waitstatus_to_exitcode` does."""
    child = os.fork()
    if not child:
        os.chdir(folder)
        if moment:
            arm(*moment)
        os._exit(main(["fit", *args]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    print(
        json.dumps(
            {
                folder: [attempt(folder, sys.argv[2:], moment) for moment in [*moments, None]]
                for folder, moments in plan.items()
            }
        )
    )
