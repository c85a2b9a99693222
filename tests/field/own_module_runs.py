"""Runs of `leyden` on a mine.py that a test writes, bodies of its methods, and what the runs leave."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.cli import main
from leyden.files.tables import read_table

MODEL = Path("artifacts/train/model.ckpt")
NAMED = ["--model=mine.Model", "--data=mine.Data"]
VAL_LOSS = "--checkpoint.monitor=val_loss"
LINE = "mine.py, line"
# Beginnings of methods of Model, and of Data; what a method returns or does is added.
STEP = "def training_step(self, batch, batch_idx):\n    loss = super().training_step(batch, batch_idx)\n    "
VALIDATE = "def validation_step(self, batch, batch_idx):\n    super().validation_step(batch, batch_idx)\n    "
TRAIN = "def train_dataloader(self):\n    "
Write = Callable[..., None]


def arguments(*args: str) -> list[str]:
    """Return the arguments of a verb that trains or scores; the monitored score is val_loss if they name no other."""
    return [*NAMED, *([] if any("monitor" in arg for arg in args) else [VAL_LOSS]), *args]


def fit(*args: str) -> None:
    assert main(["fit", "--trainer.max_epochs=2", *arguments(*args)]) == 0


def read_json(path: str) -> dict:
    return json.loads(Path(path).read_text(), parse_constant=pytest.fail)  # NaN and Infinity are not JSON


def curves() -> list[dict[str, str]]:
    return read_table(Path("artifacts/train/curves.csv"), "the test")


def assert_nothing_is_left_of(stage: str) -> None:
    assert not Path("artifacts", stage).exists()
    assert not [path for path in Path().rglob("*") if "partial" in path.name]
