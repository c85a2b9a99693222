"""A killed training of any task ends with the weights and the calibration of an uninterrupted one, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from leyden.tasks import TASKS, task_class
from tests.conftest import REPO, borrow_prepared
from tests.stages import killed
from tests.tasks.conftest import SMALL
from tests.training.test_interruption import differences

KINDS = {".png": "images", ".npy": "sequences"}
# Killed after the first epoch, and while the checkpoint of the second one is half written.
KILLS = [("epoch_end", 1), ("half_saved", 2)]


def state_of(folder: Path) -> dict:
    """Return what both runs must have in common."""
    (run,) = (folder / "runs").iterdir()
    last, best = (
        torch.load(path, weights_only=True) for path in (run / "last.ckpt", folder / "artifacts/train/model.ckpt")
    )
    spec = {key: value for key, value in best["leyden"].items() if key != "provenance"}
    keys = ("state_dict", "optimizer_states", "epoch", "global_step")
    return {"last": {key: last[key] for key in keys}, "best": best["state_dict"], "spec": spec}


@pytest.mark.parametrize("task", TASKS)
def test_a_killed_training_ends_like_an_uninterrupted_one(
    task: str, prepared: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    suffixes = [suffix for suffix, kind in KINDS.items() if kind in task_class(task).networks]
    plan = {}
    for suffix in suffixes:
        for name, kills in (("killed", KILLS), ("whole", [])):
            plan[str(borrow_prepared(prepared(task, suffix), tmp_path / f"{name}{suffix}"))] = kills
    command = [sys.executable, str(Path(killed.__file__)), json.dumps(plan), *SMALL, "--trainer.max_epochs=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    exit_codes = list(json.loads(done.stdout.splitlines()[-1]).values())
    assert exit_codes == [[-signal.SIGKILL] * len(KILLS) + [0], [0]] * len(suffixes), done.stderr
    for suffix in suffixes:
        interrupted, whole = (state_of(tmp_path / f"{name}{suffix}") for name in ("killed", "whole"))
        assert interrupted["last"]["epoch"] == 1
        assert differences(interrupted, whole) == []
