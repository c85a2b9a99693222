"""Worker processes return what one process returns, in order, and exit with their parent."""

import os
import signal
import subprocess
import sys

import pytest

from leyden.errors import UserError
from leyden.stages.prepare.workers import run_chunks
from tests.conftest import REPO

PARENT = """
import os, signal
from leyden.stages.prepare.workers import run_chunks
if __name__ == "__main__":
    results = run_chunks(abs, range(10**9), 10**9, 2, str)
    next(results)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("num_workers", [None, 1, 2])
def test_results_are_in_order(num_workers):
    assert list(run_chunks(abs, range(-50, 0), 50, num_workers, str)) == list(range(50, 0, -1))


def test_chunks_are_consumed_as_the_work_proceeds():
    consumed = []
    results = run_chunks(abs, (consumed.append(number) or number for number in range(1000)), 1000, 2, str)
    assert next(results) == 0
    assert len(consumed) <= 8
    results.close()


def test_a_killed_worker_is_reported():
    with pytest.raises(UserError, match=r"one was killed, possibly out of memory, .* among chunk 0"):
        list(run_chunks(die, range(5), 5, 2, "chunk {}".format))


def test_workers_of_a_killed_parent_exit(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    process = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, start_new_session=True)
    process.communicate(timeout=60)  # the workers hold the pipe open until the last of them exits
    assert process.returncode == -signal.SIGKILL


def test_the_pipelines_command_works_with_workers(shapes, tmp_path):
    command = [
        sys.executable,
        REPO / "src/leyden",
        "prepare",
        f"--data={shapes}",
        f"--out={tmp_path}/out",
        "--num_workers=2",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
