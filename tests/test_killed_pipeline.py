"""`make repro` killed with all its processes, twenty times, at twenty different moments; then once more, to its end."""

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

# What `make repro` does first. DVC is then started without make: a child of this process, which is gone once it was killed and waited for.
GUARD = (
    next(line for line in (REPO / "Makefile").read_text().splitlines() if "rm -f .dvc/tmp/rwlock" in line)
    .strip()
    .lstrip("@")
)
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
# What to watch, and after how many changes of it to kill: from DVC's first lock to the report's last file. Apart from the lock and
# the checkpoint half-written, which come again and again, all stay where they are: none is missed between two looks.
MOMENTS = [
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
    ("artifacts/e*/*.json", 1),  # evaluate, export, explain: in whatever order
    ("artifacts/e*/*.json", 1),
    ("artifacts/e*/*.json", 2),
    ("artifacts/report/index.html", 1),
]


def look(folder: Path, pattern: str) -> list[tuple[str, int, int]]:
    """Give the name, inode and time of what matches."""
    found = []
    for path in sorted(folder.glob(pattern)):
        try:
            status = path.stat()
        except FileNotFoundError:  # gone since it was listed
            continue
        found.append((path.name, status.st_ino, status.st_mtime_ns))
    return found


def kill_at(pattern: str, changes: int, folder: Path, env: dict[str, str]) -> int:
    """Run the pipeline until that many changes of a file were seen; give its exit status."""
    subprocess.run(GUARD, shell=True, cwd=folder, env=env, stderr=subprocess.DEVNULL, check=True)
    seen = look(folder, pattern)
    process = subprocess.Popen(["dvc", "repro"], cwd=folder, env=env, start_new_session=True, **QUIET)
    deadline = time.monotonic() + 300
    while changes and process.poll() is None and time.monotonic() < deadline:
        now = look(folder, pattern)
        changes -= bool(now) and now != seen
        seen = now
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def made_by(folder: Path) -> dict:
    """What two runs of the pipeline must have in common, weights bit for bit."""
    weights = torch.load(folder / "artifacts/train/model.ckpt", weights_only=True)["state_dict"]
    metrics = {
        stage: json.loads((folder / f"artifacts/{stage}/metrics.json").read_text()) for stage in ("train", "evaluate")
    }
    for figure in ("seconds", "peak_memory_mb"):  # of a run, not of its result
        metrics["train"].pop(figure)
    curves = (folder / "artifacts/train/curves.csv").read_text()
    return {
        "weights": {key: value.numpy().tobytes() for key, value in weights.items()},
        "metrics": metrics,
        "curves": curves,
    }


@pytest.mark.slow
def test_twenty_kills_of_the_pipeline_cost_nothing(checkout, python_env, tmp_path):
    config = checkout / "configs/train.yaml"
    text = re.sub(r"max_epochs: \d+", "max_epochs: 12", config.read_text()).replace(
        "every_steps: null", "every_steps: 4"
    )
    config.write_text(re.sub(r"width: \d+", "width: 8", text))
    (checkout / "dvc.lock").unlink()
    subprocess.run(["leyden", "sample"], cwd=checkout, env=python_env, check=True, capture_output=True)
    (checkout / ".venv").symlink_to(sys.prefix)
    os.utime(Path(sys.prefix) / ".installed")  # the environment is made
    whole = shutil.copytree(checkout, tmp_path / "whole", symlinks=True)
    subprocess.run(["make", "repro"], cwd=whole, env=python_env, check=True, capture_output=True)

    statuses = [kill_at(*moment, checkout, python_env) for moment in MOMENTS]
    assert statuses == [-signal.SIGKILL] * 20, statuses
    done = subprocess.run(["make", "repro"], cwd=checkout, env=python_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert made_by(checkout) == made_by(whole)
