"""Promise 1: whatever kills a training, and whenever, the same command ends with what an undisturbed run ends with."""

import errno
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
    """Work in the first of two folders with the prepared digits; both to train in."""
    killed, whole = (borrow_prepared(trained, tmp_path / name) for name in ("killed", "whole"))
    monkeypatch.chdir(killed)
    return killed, whole


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes of a test import its network."""
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def run_killed(moments: list[tuple[str, int]], args: list[str], disturbed: Path, whole: Path) -> list[int]:
    """Fit with a kill at each moment in one folder, undisturbed in the other; give the exit statuses of the first."""
    command = [sys.executable, str(Path(killed.__file__)), json.dumps({str(disturbed): moments, str(whole): []}), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    statuses = json.loads(done.stdout.splitlines()[-1])
    assert statuses[str(whole)] == [0]
    return statuses[str(disturbed)]


def final_state(folder: Path, averaged: bool = True) -> dict:
    """What the two runs must have in common, whatever happened on the way."""
    (run,) = (folder / "runs").iterdir()
    state = torch.load(run / "last.ckpt", weights_only=True)
    kept = {
        key: state[key]
        for key in (
            "state_dict",
            "optimizer_states",
            "lr_schedulers",
            "epoch",
            "global_step",
            "averaging_state",
            "current_model_state",
        )
        if key in state
    }
    assert averaged == ("averaging_state" in kept or "current_model_state" in kept), sorted(state)
    best = torch.load(folder / "artifacts/train/model.ckpt", weights_only=True)
    metrics = json.loads((folder / "artifacts/train/metrics.json").read_text())
    del metrics["seconds"], metrics["peak_memory_mb"]
    return {
        "last": kept,
        "best": best["state_dict"],
        "temperature": best["leyden"]["temperature"],
        "curves": (folder / "artifacts/train/curves.csv").read_text(),
        "metrics": metrics,
    }


def differences(a, b, where="") -> list[str]:
    """Name what is not the same, bit for bit."""
    if isinstance(a, dict):
        return (
            [f"{where}: keys"]
            if a.keys() != b.keys()
            else [found for key in a for found in differences(a[key], b[key], f"{where}/{key}")]
        )
    if isinstance(a, list | tuple):
        return (
            [f"{where}: length"]
            if len(a) != len(b)
            else [
                found for n, pair in enumerate(zip(a, b, strict=True)) for found in differences(*pair, f"{where}/{n}")
            ]
        )
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    return [] if same else [where]


def draw_moments(seed: int) -> list[tuple[str, int]]:
    """Draw kinds and counts, each kind twice; loading comes after a first save, and publishing last."""
    generator = random.Random(seed)
    kinds = [kind for kind in killed.MOMENTS if kind != "publishing"] * 2
    generator.shuffle(kinds)
    most = {"step": 30, "optimizer": 30, "validation": 2, "epoch_end": 1, "loading": 1}
    moments = [(kind, generator.randint(1, most.get(kind, 3))) for kind in kinds]
    return [("step", 9), *moments, ("publishing", 1)]


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_twenty_kills_cost_nothing(two_workspaces, precision):
    """Killed in steps, between steps, in validation, while saving, renaming, loading and publishing; with dropout, mixup and averaged weights."""
    args = [*ARGS, f"--trainer.precision={precision}"]
    moments = draw_moments(seed=len(precision))
    assert len(moments) == NUM_KILLS
    statuses = run_killed(moments, args, *two_workspaces)
    assert statuses[-1] == 0 and statuses.count(-signal.SIGKILL) >= 18, statuses  # a moment may not come before the end
    assert differences(*map(final_state, two_workspaces)) == []


def test_workers_accumulation_and_validations_resume_in_the_middle_of_an_epoch_too(two_workspaces):
    """Saved at each step, also at the twelfth batch, which a validation would follow; killed in an epoch that none scores."""
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
    statuses = run_killed([("step", 14), ("step", 30), ("optimizer", 2)], args, *two_workspaces)
    assert statuses == [-signal.SIGKILL] * 3 + [0]
    assert differences(*map(final_state, two_workspaces)) == []


def test_muon_one_cycle_and_the_mean_of_the_last_weights_resume_exactly(two_workspaces):
    overlays = [part for name in ("muon", "swa", "one_cycle") for part in ("-c", f"configs/experiment/{name}.yaml")]
    args = [
        "-c",
        "configs/train.yaml",
        *overlays,
        "--network=tests.stages.killed.DropoutNet",
        "--resume.every_steps=4",
        "--trainer.max_epochs=4",
    ]
    statuses = run_killed([("step", 30), ("step", 12)], args, *two_workspaces)
    assert statuses == [-signal.SIGKILL] * 2 + [0]
    disturbed, state = map(final_state, two_workspaces)
    assert differences(disturbed, state) == []
    assert int(state["last"]["averaging_state"]["n_averaged"]) == state["last"]["global_step"] == 4 * 18


def test_several_steps_in_a_call_resume_in_its_middle_and_end_as_single_steps(two_workspaces, trained, tmp_path):
    """Killed in calls of 16 steps, of which every fourth is saved; readers are ahead."""
    args = [
        *ARGS,
        "-c",
        "configs/trainer/small_steps.yaml",
        "--data.num_workers=2",
        "--trainer.precision=32-true",
        "--trainer.max_epochs=3",
    ]
    statuses = run_killed([("step", 23), ("saved", 3), ("optimizer", 9)], args, *two_workspaces)
    assert statuses == [-signal.SIGKILL] * 3 + [0]
    disturbed, whole = map(final_state, two_workspaces)
    assert differences(disturbed, whole) == []
    single = borrow_prepared(trained, tmp_path / "single")
    subprocess.run([sys.executable, "-m", "leyden", "fit", *args], cwd=single, check=True)
    assert differences(final_state(single), whole) == []


@pytest.mark.parametrize("damage", ["flip", pytest.param("cut", marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_taken(two_workspaces, damage, capsys):
    args = [*ARGS, "--trainer.precision=32-true", "--trainer.max_epochs=3"]
    assert run_killed([("step", 40), ("loading", 1)], args, *two_workspaces)[-1] == 0
    (run,) = Path("runs").iterdir()
    content = bytearray((run / "last.ckpt").read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    (run / "last.ckpt").write_bytes(content if damage == "flip" else content[:-100])
    done = subprocess.run([sys.executable, "-m", "leyden", "fit", *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{run}/last.ckpt is damaged; takes the one before it" in done.stderr and "fit: continues" in done.stderr
    assert differences(*map(final_state, two_workspaces)) == []


def test_a_full_disk_keeps_the_last_good_checkpoint_and_says_so(workspace, monkeypatch, caplog, capsys):
    """The disk is full for a while: the training goes on, and what was saved before is still there."""
    saved, save = [], torch.save

    def full_for_a_while(value, file):
        saved.append(len(saved))
        if 1 <= saved[-1] < 4:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(value, file)

    monkeypatch.setattr(torch, "save", full_for_a_while)
    seen = []
    original = resumption.Resume.save

    def watched(self, trainer):
        original(self, trainer)
        seen.append(
            [*sorted(path.name for path in self.run.folder.glob("*.ckpt")), resumption.is_intact(self.run.last)]
        )

    monkeypatch.setattr(resumption.Resume, "save", watched)
    args = [*ARGS, "--trainer.max_epochs=1", "--network=leyden.models.ResNet", "--network.init_args.width=4"]
    assert main(["fit", *args]) == 0
    assert seen[0] == seen[1] == seen[2] == seen[3] == ["last.ckpt", True]
    assert "could not save step 8 (No space left on device)" in caplog.text + capsys.readouterr().err


def test_sigterm_saves_the_step_in_progress(workspace):
    """A preempted machine loses no step, whatever the schedule of checkpoints."""
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
