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
CASES = [(task, suffix) for task in TASKS for suffix, kind in KINDS.items() if kind in task_class(task).networks]
# Killed after the first epoch, and while the checkpoint of the second one is half written.
KILLS = [("epoch_end", 1), ("half_saved", 2)]
DATA = {".png": "leyden.ImageData", ".npy": "leyden.SequenceData"}


def state_of(folder: Path) -> dict:
    """Return what both runs must have in common."""
    (run,) = (folder / "runs").iterdir()
    last, best = (torch.load(path, weights_only=True) for path in (run / "last.ckpt", folder / "artifacts/train/model.ckpt"))
    spec = {key: value for key, value in best["leyden"].items() if key != "provenance"}
    keys = ("state_dict", "optimizer_states", "epoch", "global_step")
    return {"last": {key: last[key] for key in keys}, "best": best["state_dict"], "spec": spec}


@pytest.mark.parametrize(("task", "suffix"), CASES)
def test_a_killed_training_ends_like_an_uninterrupted_one(
    task: str, suffix: str, prepared: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    folders = [borrow_prepared(prepared(task, suffix), tmp_path / name) for name in ("killed", "whole")]
    plan = json.dumps({str(folder): kills for folder, kills in zip(folders, (KILLS, []), strict=True)})
    args = [f"--data={DATA[suffix]}", *SMALL, "--trainer.max_epochs=2"]
    command = [sys.executable, str(Path(killed.__file__)), plan, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    exit_codes = list(json.loads(done.stdout.splitlines()[-1]).values())
    assert exit_codes == [[-signal.SIGKILL] * len(KILLS) + [0], [0]], done.stderr
    interrupted, whole = map(state_of, folders)
    assert interrupted["last"]["epoch"] == 1
    assert differences(interrupted, whole) == []
