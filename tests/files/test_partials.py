"""A reader finds a complete old or new result, even if writers are killed or several write at the same time."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import leyden.files.partials
from leyden.errors import UserError
from leyden.files import replaced_folder

FILES = [f"{number}.txt" for number in range(4)]
PUBLISH = """
import json, os, signal, sys
from pathlib import Path
import leyden.files.partials
from leyden.files import replaced_file, replaced_folder

if sys.argv[2] == "False":
    leyden.files.partials.exchange = lambda *_: False
os.chdir(sys.argv[1])

def publish(generation):
    with replaced_folder(Path("out"), "report") as folder:
        for number in range(4):
            (folder / f"{number}.txt").write_text(f"{generation}")
    with replaced_file(Path("out.txt")) as path:
        path.write_text(f"{generation}\\n" * 1000)
"""
PUBLISH_REPEATEDLY = """
print("ready", flush=True)
for number in range(100):
    publish(f"{sys.argv[3]} {number}")
"""
# Python calls the audit hook before each operation, so the process is killed between any two of them.
PUBLISH_AND_KILL = """
def kill_at(count):
    def hook(event, args):
        nonlocal count
        count -= event.startswith(("os.", "open", "fcntl.", "shutil.", "ctypes."))
        if not count:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def read_results():
    return {str(path): path.read_text() for path in sorted(Path().rglob("*.txt")) if path.is_file()}

publish("old")
seen, status, count = [], signal.SIGKILL, 0
while os.WIFSIGNALED(status):
    count += 1
    child = os.fork()
    if not child:
        kill_at(count)
        publish(f"new {count}")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    seen.append(read_results())
print(json.dumps(seen))
sys.exit(status != 0)
"""


def start(folder: Path, program: str, can_exchange: bool, *args: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PUBLISH + program, str(folder), str(can_exchange), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_complete(texts: dict[str, str], folder: str) -> bool:
    """Return whether all files of a folder exist and are of one generation."""
    return len({texts.get(f"{folder}/{name}", f"no {name}") for name in FILES}) == 1


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_kill_between_any_two_operations_leaves_a_complete_result_and_no_leftovers(can_exchange, tmp_path):
    process = start(tmp_path, PUBLISH_AND_KILL, can_exchange)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    seen = json.loads(printed)
    assert len(seen) > 30
    # Between the two steps the folder is missing; the old one is kept beside it until the next success.
    missing = [texts for texts in seen if not is_complete(texts, "out")]
    assert len(missing) <= (0 if can_exchange else 3)
    for texts in missing:
        (old,) = {name.split("/")[0] for name in texts if ".old.leyden.partial/" in name}
        assert is_complete(texts, old)
    for texts in seen:
        lines = texts["out.txt"].splitlines()
        assert len(lines) == 1000
        assert len(set(lines)) == 1
    assert names(tmp_path) == ["out", "out.txt"]  # the last process was not killed
    assert set(seen[-1].values()) == {f"new {len(seen)}", f"new {len(seen)}\n" * 1000}


def read_folder(folder: Path) -> dict[str, str] | None:
    """Read a published folder; return None if it was replaced meanwhile, which removes its files."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        texts = {}
        for name in FILES:
            with open(os.open(name, os.O_RDONLY, dir_fd=opened)) as file:
                texts[f"out/{name}"] = file.read()
    except FileNotFoundError:
        texts = {}
    finally:
        is_current = os.path.samestat(os.fstat(opened), folder.stat())
        os.close(opened)
    return texts if is_current else None


@pytest.mark.parametrize("can_exchange", [True, False])
def test_two_processes_publish_at_the_same_time_and_readers_find_complete_results(can_exchange, tmp_path):
    first = start(tmp_path, "publish('first')", can_exchange)
    assert first.communicate() == ("", "")
    publishers = [start(tmp_path, PUBLISH_REPEATEDLY, can_exchange, name) for name in ("first", "other")]
    assert [process.stdout.readline() for process in publishers if process.stdout] == ["ready\n"] * 2
    num_read = 0
    while any(process.poll() is None for process in publishers):
        assert len(set((tmp_path / "out.txt").read_text().splitlines())) == 1
        # Between the two steps the folder is missing.
        if can_exchange and (texts := read_folder(tmp_path / "out")) is not None:
            assert is_complete(texts, "out"), texts
            num_read += 1
    assert [process.communicate()[1] for process in publishers] == ["", ""]
    assert [process.returncode for process in publishers] == [0, 0]
    texts = read_folder(tmp_path / "out")
    assert texts
    assert is_complete(texts, "out")
    assert set(texts.values()) & {"first 99", "other 99"}
    assert num_read or not can_exchange
    assert names(tmp_path) == ["out", "out.txt"]


@pytest.fixture
def between_the_steps(tmp_path, monkeypatch):
    """Return a function that schedules one call for when the old folder is moved aside and the new one not in place."""
    rename, scheduled = Path.rename, []

    def interrupted(path, other):
        result = rename(path, other)
        if scheduled and ".old." in Path(other).name:
            scheduled.pop()()
        return result

    monkeypatch.setattr(leyden.files.partials, "exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    return scheduled.append


def publish(folder: Path, generation: str) -> None:
    with replaced_folder(folder, "report") as partial:
        (partial / "0.txt").write_text(generation)


def test_a_result_published_between_the_two_steps_is_replaced(between_the_steps, tmp_path):
    publish(tmp_path / "out", "old")
    between_the_steps(lambda: publish(tmp_path / "out", "between"))
    publish(tmp_path / "out", "new")
    assert (tmp_path / "out/0.txt").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_the_old_result_is_moved_back_if_the_second_step_fails(between_the_steps, tmp_path):
    publish(tmp_path / "out", "old")
    between_the_steps(lambda: next(tmp_path.glob(".out.????????.leyden.partial")).rename(tmp_path / "stolen"))
    with pytest.raises(UserError, match="got: No such file"):
        publish(tmp_path / "out", "new")
    assert (tmp_path / "out/0.txt").read_text() == "old"
    assert names(tmp_path) == ["out", "stolen"]


def test_files_that_only_look_like_partials_are_kept(tmp_path):
    """A folder with a similar name, and a pipe, whose opening would block."""
    (tmp_path / ".out.0123abcd.partial").mkdir()
    (tmp_path / ".out.0123abcd.partial/photo.jpg").touch()
    os.mkfifo(tmp_path / ".out.01234567.leyden.partial")
    publish(tmp_path / "out", "new")
    assert names(tmp_path) == [".out.01234567.leyden.partial", ".out.0123abcd.partial", "out"]


def test_a_folder_that_cannot_be_renamed_is_replaced(tmp_path, monkeypatch):
    """As a folder from a container image."""
    rename = Path.rename

    def refuse(path, other):
        if path == tmp_path / "out":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, other)

    publish(tmp_path / "out", "old")
    monkeypatch.setattr(leyden.files.partials, "exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", refuse)
    publish(tmp_path / "out", "new")
    assert (tmp_path / "out/0.txt").read_text() == "new"
    assert names(tmp_path) == ["out"]
