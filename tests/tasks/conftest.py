"""Tiny data sets, prepared and trained on once for all tests."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.cli import main
from tests.conftest import REPO
from tests.tasks.data import write_data

SMALL = ["--data.batch_size=8", "--trainer.accelerator=cpu"]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that returns a folder like a checkout after `leyden prepare`, given task and file suffix."""

    @functools.cache
    def prepare(task: str, suffix: str = ".png") -> Path:
        folder = tmp_path_factory.mktemp(task)
        (folder / "configs").symlink_to(REPO / "configs")
        write_data(folder / "data", task, suffix)
        assert main(["prepare", f"--data={folder}/data", f"--out={folder}/artifacts/prepare"]) == 0
        return folder

    return prepare


@pytest.fixture(scope="session")
def trained_on(prepared: Callable[..., Path]) -> Callable[[str], Path]:
    """Return a function that returns a folder like a checkout after `leyden fit`, given the task."""

    @functools.cache
    def train(task: str) -> Path:
        with contextlib.chdir(folder := prepared(task)):
            assert main(["fit", "-c", "configs/train.yaml", *SMALL, "--trainer.max_epochs=1"]) == 0
            Path("artifacts/train/model.ckpt").rename("earlier.ckpt")
        return folder

    return train
