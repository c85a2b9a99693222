"""Several processes train as one: the same batches and weights, and exact scores; they stop and resume together."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.conftest import REPO, borrow_prepared
from tests.training.test_interruption import differences, final_state, two_workspaces

__all__ = ["two_workspaces"]
TOLERANCE = 2e-5  # of float32 weights after 36 steps: sums over processes are rounded in a different order
MODEL = [
    "-c",
    "configs/train.yaml",
    "--network=leyden.models.PatchTransformer",
    "--network.init_args.width=16",
    "--network.init_args.depth=1",
    "--model.optimizer=torch.optim.SGD",
    "--model.optimizer.init_args.lr=0.1",
    # Partners, ratios and boxes are drawn for the global batch.
    "--model.mixing.mixup_alpha=0.4",
    "--model.mixing.cutmix_alpha=1",
    "--trainer.precision=32-true",
    "--trainer.max_epochs=2",
]
TWO_PROCESSES = ["-c", "configs/trainer/ddp.yaml", "--trainer.accelerator=cpu"]
LEYDEN = [sys.executable, "-m", "leyden"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def fit(folder: Path, *args: str, launcher: list[str] = LEYDEN) -> str:
    """Train from the command line; return what it printed to stderr."""
    done = subprocess.run([*launcher, "fit", *MODEL, *args], cwd=folder, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stderr


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (run,) = (folder / "runs").iterdir()
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[key] - b[key]).abs().max()) for key in a if a[key].is_floating_point())


def curves(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "artifacts/train/curves.csv").read_text().splitlines()))


@pytest.fixture(autouse=True)
def process_marker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Mark the environment of every process that the test starts."""
    monkeypatch.setenv("LEYDEN_TEST", str(tmp_path))


@pytest.fixture(scope="module")
def alone(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one process has trained."""
    folder = borrow_prepared(trained, tmp_path_factory.mktemp("alone"))
    fit(folder, "--data.batch_size=64")
    return folder


@pytest.mark.parametrize(
    "launcher",
    [
        LEYDEN,
        pytest.param([sys.executable, str(REPO / "src/leyden")], marks=pytest.mark.slow),
        [*TORCHRUN, "-m", "leyden"],
    ],
    ids=["leyden", "folder", "torchrun"],
)
def test_two_processes_train_as_one_does(alone, workspace, launcher):
    """With the same global batch of 64, weights differ by rounding, and scores of an odd validation set are equal."""
    fit(workspace, *TWO_PROCESSES, "--data.batch_size=32", launcher=launcher)
    assert 0 < distance(weights(alone), weights(workspace)) < TOLERANCE
    for row, expected in zip(curves(workspace), curves(alone), strict=True):
        assert row["val/accuracy"] == expected["val/accuracy"]
        assert row["val/balanced_accuracy"] == expected["val/balanced_accuracy"]
        assert abs(float(row["train/loss"]) - float(expected["train/loss"])) < 1e-4
    assert len(list((workspace / "artifacts/train").iterdir())) == 6


def test_each_example_is_scored_once(alone):
    """One process scores 293 examples; two score 147 and 146."""
    outputs = [
        subprocess.run(
            [*LEYDEN, "validate", *MODEL, *args], cwd=alone, text=True, capture_output=True, check=True
        ).stdout
        for args in ([], [*TWO_PROCESSES, "--data.batch_size=9"])
    ]
    scores = [[line for line in text.splitlines() if "accuracy" in line] for text in outputs]
    assert len(scores[0]) == 2
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    "compress", ["fp16", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bf16", "power_sgd"))]
)
def test_compressed_gradients_differ_a_little(two_workspaces, compress):
    """The hook changes the weights, but not much."""
    short = [*TWO_PROCESSES, "--data.batch_size=8", "--trainer.max_epochs=2"]  # 144 steps: power_sgd begins after 100
    plain, compressed = two_workspaces
    fit(plain, *short)
    fit(compressed, *short, f"--trainer.strategy.init_args.compress={compress}")
    assert 1e-5 < distance(weights(plain), weights(compressed)) < 0.5
    assert float(curves(compressed)[-1]["train/loss"]) < float(curves(compressed)[0]["train/loss"])


def test_scaled_learning_rate_is_printed_and_used(workspace):
    printed = fit(
        workspace,
        *TWO_PROCESSES,
        "--model.schedule.scale_lr=auto",
        "--trainer.accumulate_grad_batches=2",
        "--trainer.max_epochs=1",
    )
    assert printed.count("fit: learning rate 0.1 times 4 is 0.4 (model.schedule.scale_lr: auto)") == 1
    (run,) = (workspace / "runs").iterdir()
    assert torch.load(run / "last.ckpt", weights_only=True)["lr_schedulers"][0]["base_lrs"] == [0.4]


def test_restarts_that_could_connect_to_lost_processes_are_refused(monkeypatch, error_of):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert "--max-restarts=3 with one for all" in error_of("fit")


@pytest.mark.slow
def test_torchrun_restarts_lost_processes(two_workspaces, monkeypatch):
    """After kill -9 of one process, torchrun restarts both; they resume, and end as without the kill."""
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    args = [*TWO_PROCESSES, "--data.batch_size=8", "--trainer.max_epochs=3", "--resume.every_steps=10"]
    killed, whole = two_workspaces
    fit(whole, *args, launcher=[*TORCHRUN, "-m", "leyden"])
    command = [*TORCHRUN, "--max-restarts=3", "-m", "leyden", "fit", *MODEL, *args]
    process = subprocess.Popen(command, cwd=killed, text=True, stderr=subprocess.PIPE)
    try:
        wait_for_checkpoint(killed, process)
        os.kill(pid_of(rank=1), signal.SIGKILL)
        printed = process.communicate(timeout=300)[1]
    finally:
        kill_all()
    assert process.returncode == 0, printed
    assert "fit: continues in" in printed
    assert differences(final_state(killed, averaged=False), final_state(whole, averaged=False)) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_sigterm_to_one_process_stops_both_and_saves(workspace, rank):
    args = [*TWO_PROCESSES, "--data.batch_size=8", "--trainer.max_epochs=100", "--resume.every_seconds=null"]
    command = [*LEYDEN, "fit", *MODEL, *args]
    check_termination(workspace, command, lambda process: [process.pid if rank == 0 else pid_of(rank=1)])


def check_termination(
    folder: Path, command: list[str], choose_pids: Callable[[subprocess.Popen[str]], list[int]]
) -> None:
    """Send SIGTERM to processes of a training after its first checkpoint; check that it stops and has saved."""
    process = subprocess.Popen(command, cwd=folder, text=True, stderr=subprocess.PIPE)
    try:
        wait_for_checkpoint(folder, process)
        for pid in choose_pids(process):
            os.kill(pid, signal.SIGTERM)
        process.communicate(timeout=120)
    finally:
        kill_all()
    assert process.returncode == 143
    (run,) = (folder / "runs").iterdir()
    assert 0 < torch.load(run / "last.ckpt", weights_only=True)["global_step"] < 7200


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not any((folder / "runs").glob("*/last.ckpt")):
        assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
        time.sleep(0.02)


def processes_of_this_test() -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the ids of the processes that the test started, with their environment."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = dict(
                entry.partition("=")[::2] for entry in (path / "environ").read_bytes().decode().split("\0") if entry
            )
        except (OSError, UnicodeDecodeError):
            continue
        if environment.get("LEYDEN_TEST") == os.environ["LEYDEN_TEST"] and int(path.name) != os.getpid():
            yield int(path.name), environment


def pid_of(rank: int) -> int:
    return next(pid for pid, environment in processes_of_this_test() if environment.get("LOCAL_RANK") == str(rank))


def kill_all() -> None:
    for pid, _ in processes_of_this_test():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
