"""`make repro` is killed with all its processes at twenty different moments, and then runs to its end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import REPO

# The command of `make repro` that removes stale locks. DVC is then started without make, as a child of this process, so
# that it can be killed and waited for.
REMOVE_LOCKS = next(line for line in (REPO / "Makefile").read_text().splitlines() if "rm -f .dvc/tmp/rwlock" in line)
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
# Files to watch, and the number of changes after which to kill, from DVC's first lock to the report's last file. Only
# the lock and a half-written checkpoint disappear again, and those appear repeatedly: polling misses no change.
KILLS = [
    (".dvc/tmp/rwlock", 1),
    (".dvc/tmp/rwlock", 2),
    ("artifacts/.prepare.*.partial", 1),
    ("artifacts/prepare/report.json", 1),
    ("dvc.lock", 1),
    ("runs/*/pid", 1),
    ("runs/*/best.ckpt", 1),
    ("runs/*/last.ckpt", 1),
    ("runs/*/last.ckpt", 2),
    ("runs/*/.next.ckpt.*.partial", 1),
    ("runs/*/.next.ckpt.*.partial", 2),
    ("runs/*/previous.ckpt", 3),
    ("runs/*/curves.csv", 1),
    ("runs/*/curves.csv", 2),
    ("artifacts/train/model.ckpt", 1),
    ("dvc.lock", 1),
    ("artifacts/e*/*.json", 1),  # evaluate, export and explain, in any order
    ("artifacts/e*/*.json", 1),
    ("artifacts/e*/*.json", 2),
    ("artifacts/report/index.html", 1),
]


def list_files(folder: Path, pattern: str) -> list[tuple[str, int, int]]:
    """Return name, inode and modification time of the files that match."""
    files = []
    for path in sorted(folder.glob(pattern)):
        try:
            status = path.stat()
        except FileNotFoundError:  # removed since it was listed
            continue
        files.append((path.name, status.st_ino, status.st_mtime_ns))
    return files


def run_and_kill(pattern: str, num_changes: int, folder: Path, env: dict[str, str]) -> int:
    """Run the pipeline, and kill it after a number of changes of a file; return its exit code."""
    subprocess.run(
        REMOVE_LOCKS.strip().lstrip("@"), shell=True, cwd=folder, env=env, stderr=subprocess.DEVNULL, check=True
    )
    previous = list_files(folder, pattern)
    process = subprocess.Popen(["dvc", "repro"], cwd=folder, env=env, start_new_session=True, **QUIET)
    deadline = time.monotonic() + 300
    while num_changes and process.poll() is None and time.monotonic() < deadline:
        current = list_files(folder, pattern)
        num_changes -= bool(current) and current != previous
        previous = current
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def results_of(folder: Path) -> dict:
    """Return what two runs of the pipeline must have in common, weights bit for bit."""
    weights = torch.load(folder / "artifacts/train/model.ckpt", weights_only=True)["state_dict"]
    metrics = {
        stage: json.loads((folder / f"artifacts/{stage}/metrics.json").read_text()) for stage in ("train", "evaluate")
    }
    for name in ("seconds", "peak_memory_mb"):  # they differ from run to run
        metrics["train"].pop(name)
    curves = (folder / "artifacts/train/curves.csv").read_text()
    return {
        "weights": {key: value.numpy().tobytes() for key, value in weights.items()},
        "metrics": metrics,
        "curves": curves,
    }


@pytest.mark.slow
def test_twenty_kills_of_the_pipeline_change_nothing(checkout, python_env, tmp_path):
    config = checkout / "configs/train.yaml"
    text = re.sub(r"max_epochs: \d+", "max_epochs: 12", config.read_text()).replace(
        "every_steps: null", "every_steps: 4"
    )
    config.write_text(re.sub(r"width: \d+", "width: 8", text))
    (checkout / "dvc.lock").unlink()
    subprocess.run(["leyden", "sample"], cwd=checkout, env=python_env, check=True, capture_output=True)
    (checkout / ".venv").symlink_to(sys.prefix)
    os.utime(Path(sys.prefix) / ".installed")  # newer than the Makefile's requirements: make does not install again
    whole = shutil.copytree(checkout, tmp_path / "whole", symlinks=True)
    subprocess.run(["make", "repro"], cwd=whole, env=python_env, check=True, capture_output=True)

    exit_codes = [run_and_kill(*kill, checkout, python_env) for kill in KILLS]
    assert exit_codes == [-signal.SIGKILL] * 20
    done = subprocess.run(["make", "repro"], cwd=checkout, env=python_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert results_of(checkout) == results_of(whole)
