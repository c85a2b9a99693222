"""The scripts in configs/cluster that start a training on several machines; here, two processes act as machines."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.training.test_distributed import (
    MODEL,
    TOLERANCE,
    TWO_PROCESSES,
    alone,
    check_termination,
    distance,
    kill_all,
    process_marker,
    processes_of_this_test,
    weights,
)
from tests.training.test_interruption import two_workspaces

__all__ = ["alone", "process_marker", "two_workspaces"]
TORCHRUN = ["bash", str(REPO / "configs/cluster/torchrun.sh")]
SLURM = ["bash", str(REPO / "configs/cluster/slurm.sbatch"), *MODEL, *TWO_PROCESSES]

SRUN = """#!/bin/sh
# Starts two tasks, as SLURM does on two nodes with one task each, and exits with the highest exit status.
export SLURM_JOB_ID=1 SLURM_JOB_NAME=leyden SLURM_NTASKS=2 SLURM_NTASKS_PER_NODE=1 SLURM_NNODES=2 \
    SLURM_JOB_NUM_NODES=2 SLURM_JOB_NODELIST=localhost SLURM_STEP_NODELIST=localhost MASTER_ADDR=localhost
SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=0 SLURM_NODEID=1 "$@" & second=$!
trap 'kill -TERM $first $second' TERM
wait $first; a=$?; [ $a -eq 143 ] && kill -0 $first 2>/dev/null && { wait $first; a=$?; }
wait $second; b=$?
exit $(( a > b ? a : b ))
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of fake `srun` and `scontrol` commands, first on the path, with this interpreter as `python`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "srun").write_text(SRUN)
    (folder / "scontrol").write_text('#!/bin/sh\necho "$@" >> scontrol.log\n')
    (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_NNODES", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "1")
    monkeypatch.setenv("MASTER_PORT", free_port())
    return folder


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("localhost", 0))
        return str(sock.getsockname()[1])


def run_on_two_machines(folder: Path, *args: str) -> None:
    """Run torchrun.sh twice at the same time, as on two machines with one process each."""
    environment = {**os.environ, "NODES": "2", "HEAD": "localhost", "PORT": free_port(), "RESTARTS": "0"}
    command = [*TORCHRUN, *MODEL, *TWO_PROCESSES, *args]
    machines = [
        subprocess.Popen(command, cwd=folder, env=environment, text=True, stderr=subprocess.PIPE) for _ in range(2)
    ]
    try:
        errors = [machine.communicate(timeout=300)[1] for machine in machines]
    finally:
        kill_all()
    assert [machine.returncode for machine in machines] == [0, 0], errors


@pytest.mark.slow
def test_torchrun_on_two_machines_trains_as_one_process_does(alone, workspace, cluster):
    run_on_two_machines(workspace, "--data.batch_size=32")
    assert 0 < distance(weights(alone), weights(workspace)) < TOLERANCE


@pytest.mark.slow
def test_local_sgd_differs_a_little_from_ddp(two_workspaces, cluster):
    """After 100 steps, each machine steps by itself, and the weights are averaged every fifth step."""
    local, common = two_workspaces
    run_on_two_machines(common, "--data.batch_size=8")
    run_on_two_machines(local, "--data.batch_size=8", "--trainer.strategy.init_args.average_every=5")
    assert 1e-5 < distance(weights(common), weights(local)) < 0.5


def test_slurm_trains_as_one_process_does(alone, workspace, cluster):
    done = subprocess.run([*SLURM, "--data.batch_size=32"], cwd=workspace, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 0 < distance(weights(alone), weights(workspace)) < TOLERANCE
    assert not (workspace / "scontrol.log").exists()


def test_slurm_requeues_a_stopped_training(workspace, cluster):
    """SLURM signals the tasks, not the script, before the time limit."""
    command = [*SLURM, "--data.batch_size=8", "--trainer.max_epochs=100"]
    check_termination(
        workspace,
        command,
        lambda _: [pid for pid, environment in processes_of_this_test() if "SLURM_PROCID" in environment],
    )
    assert (workspace / "scontrol.log").read_text() == "requeue 1\n"


def test_torchrun_script_names_missing_variables():
    done = subprocess.run(TORCHRUN, text=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    assert done.returncode
    assert "NODES: expected the number of machines" in done.stderr
