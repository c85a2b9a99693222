"""Promise 1: after a kill at any moment, the same command ends with the result of an uninterrupted run."""

import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from leyden.cli import main
from leyden.training import resumption
from tests.conftest import REPO, borrow_prepared
from tests.stages import killed

NUM_KILLS = 20
STATE_KEYS = (
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "epoch",
    "global_step",
    "averaging_state",
    "current_model_state",
)
ARGS = [
    "-c",
    "configs/train.yaml",
    "--network=tests.stages.killed.DropoutNet",
    "--model.mixing.mixup_alpha=0.2",
    "--model.adversarial_epsilon=0.05",
    "--trainer.max_epochs=25",
    "--trainer.callbacks+=lightning.pytorch.callbacks.EMAWeightAveraging",
    "--resume.every_steps=4",
]


@pytest.fixture
def two_workspaces(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders with the prepared digits, to train in; the first is the working directory."""
    killed, whole = (borrow_prepared(trained, tmp_path / name) for name in ("killed", "whole"))
    monkeypatch.chdir(killed)
    return killed, whole


@pytest.fixture(autouse=True)
def importable_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the network importable in the processes that a test starts."""
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def run_killed(kills: list[tuple[str, int]], args: list[str], interrupted: Path, whole: Path) -> list[int]:
    """Run fit in one folder with the given kills, and in another without; return the exit codes in the first.

    Each kill is a kill point of `tests.stages.killed` and the number of the call to kill at, and ends one attempt.
    """
    plan = json.dumps({str(interrupted): kills, str(whole): []})
    command = [sys.executable, str(Path(killed.__file__)), plan, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    exit_codes = json.loads(done.stdout.splitlines()[-1])
    assert exit_codes[str(whole)] == [0]
    return exit_codes[str(interrupted)]


def final_state(folder: Path, averaged: bool = True) -> dict:
    """Return what the killed and the uninterrupted run must have in common."""
    (run,) = (folder / "runs").iterdir()
    state = torch.load(run / "last.ckpt", weights_only=True)
    last = {key: state[key] for key in STATE_KEYS if key in state}
    assert averaged == ("averaging_state" in last or "current_model_state" in last), sorted(state)
    best = torch.load(folder / "artifacts/train/model.ckpt", weights_only=True)
    metrics = json.loads((folder / "artifacts/train/metrics.json").read_text())
    del metrics["seconds"], metrics["peak_memory_mb"]
    return {
        "last": last,
        "best": best["state_dict"],
        "temperature": best["leyden"]["temperature"],
        "curves": (folder / "artifacts/train/curves.csv").read_text(),
        "metrics": metrics,
    }


def differences(a, b, path="") -> list[str]:
    """Return the paths of the values that differ, bit for bit."""
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{path}: keys"]
        return [each for key in a for each in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{path}: length"]
        return [each for n, pair in enumerate(zip(a, b, strict=True)) for each in differences(*pair, f"{path}/{n}")]
    is_equal = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    return [] if is_equal else [path]


def draw_kills(seed: int) -> list[tuple[str, int]]:
    """Draw each kill point twice, with a number of calls; the first kill is after a save, the last in publishing."""
    generator = random.Random(seed)
    points = [point for point in killed.KILL_POINTS if point not in ("publishing", "resumable")] * 2
    generator.shuffle(points)
    max_calls = {"step": 30, "optimizer": 30, "validation": 2, "epoch_end": 1, "loading": 1}
    kills = [(point, generator.randint(1, max_calls.get(point, 3))) for point in points]
    return [("step", 9), *kills, ("publishing", 1)]


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_twenty_kills_change_nothing(two_workspaces, precision):
    """Killed within and between steps, in validation, while saving, renaming, loading and publishing.

    The training has dropout, mixup and averaged weights.
    """
    kills = draw_kills(seed=len(precision))
    assert len(kills) == NUM_KILLS
    exit_codes = run_killed(kills, [*ARGS, f"--trainer.precision={precision}"], *two_workspaces)
    assert exit_codes[-1] == 0, exit_codes
    assert exit_codes.count(-signal.SIGKILL) >= 18, exit_codes  # a training may end before it reaches its kill point
    assert differences(*map(final_state, two_workspaces)) == []


def test_workers_accumulation_and_several_validations_resume_in_the_middle_of_an_epoch(two_workspaces):
    """Saved at each step, also at the twelfth batch, before a validation; killed in an epoch without a validation."""
    args = [
        *ARGS,
        "--data.num_workers=2",
        "--trainer.accumulate_grad_batches=4",
        "--trainer.val_check_interval=6",
        "--trainer.check_val_every_n_epoch=2",
        "--resume.every_steps=1",
        "--trainer.precision=32-true",
        "--trainer.max_epochs=3",
    ]
    exit_codes = run_killed([("step", 14), ("step", 30), ("optimizer", 2)], args, *two_workspaces)
    assert exit_codes == [-signal.SIGKILL] * 3 + [0]
    assert differences(*map(final_state, two_workspaces)) == []


def test_muon_one_cycle_and_weight_averaging_resume_exactly(two_workspaces):
    overlays = [part for name in ("muon", "swa", "one_cycle") for part in ("-c", f"configs/experiment/{name}.yaml")]
    options = ["--network=tests.stages.killed.DropoutNet", "--resume.every_steps=4", "--trainer.max_epochs=4"]
    args = ["-c", "configs/train.yaml", *overlays, *options]
    exit_codes = run_killed([("step", 30), ("step", 12)], args, *two_workspaces)
    assert exit_codes == [-signal.SIGKILL] * 2 + [0]
    interrupted, whole = map(final_state, two_workspaces)
    assert differences(interrupted, whole) == []
    assert whole["last"]["global_step"] == 4 * 18
    assert int(whole["last"]["averaging_state"]["n_averaged"]) == 4 * 18


@pytest.mark.parametrize("damage", ["flip", pytest.param("cut", marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_skipped(two_workspaces, damage, capsys):
    args = [*ARGS, "--trainer.precision=32-true", "--trainer.max_epochs=3"]
    assert run_killed([("step", 40), ("loading", 1)], args, *two_workspaces)[-1] == 0
    (run,) = Path("runs").iterdir()
    content = bytearray((run / "last.ckpt").read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    (run / "last.ckpt").write_bytes(content if damage == "flip" else content[:-100])
    done = subprocess.run([sys.executable, "-m", "leyden", "fit", *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{run}/last.ckpt is damaged; skipped" in done.stderr
    assert "fit: continues" in done.stderr
    assert differences(*map(final_state, two_workspaces)) == []


def test_a_full_disk_keeps_the_last_checkpoint(workspace, monkeypatch, caplog, capsys):
    """The disk is full for a while: the training continues, and the earlier checkpoint stays."""
    num_saves, torch_save = itertools.count(), torch.save

    def save_to_full_disk(value, file):
        if 1 <= next(num_saves) < 4:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        torch_save(value, file)

    monkeypatch.setattr(torch, "save", save_to_full_disk)
    states = []
    original = resumption.Resume.save

    def save_and_list(self, trainer):
        original(self, trainer)
        names = sorted(path.name for path in self.run.folder.glob("*.ckpt"))
        states.append([*names, resumption.is_intact(self.run.last)])

    monkeypatch.setattr(resumption.Resume, "save", save_and_list)
    args = [*ARGS, "--trainer.max_epochs=1", "--network=leyden.models.ResNet", "--network.init_args.width=4"]
    assert main(["fit", *args]) == 0
    assert states[:4] == [["last.ckpt", True]] * 4
    assert "could not save step 8 (No space left on device)" in caplog.text + capsys.readouterr().err


def test_sigterm_saves_the_current_step(workspace):
    """A preempted machine loses no step, also without checkpoints at intervals."""
    args = [*ARGS, "--resume.every_steps=null", "--resume.every_seconds=null", "--trainer.max_epochs=300"]
    process = subprocess.Popen([sys.executable, "-m", "leyden", "fit", *args], text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not any(Path("runs").glob("*/curves.csv")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    (run,) = Path("runs").iterdir()
    state = torch.load(run / "last.ckpt", weights_only=True)
    assert 0 < state["global_step"] < 300 * 18
    assert not list(run.glob(".*.partial"))
