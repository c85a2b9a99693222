"""Whoever is killed, whoever else publishes: a reader finds the whole old result or the whole new one."""

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
AGAIN_AND_AGAIN = """
print("ready", flush=True)
for number in range(100):
    publish(f"{sys.argv[3]} {number}")
"""
# Python calls the hook before each operation: the process dies between any two of them.
KILLED = """
def die_at(count):
    def hook(event, args):
        nonlocal count
        count -= event.startswith(("os.", "open", "fcntl.", "shutil.", "ctypes."))
        if not count:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def look():
    return {str(path): path.read_text() for path in sorted(Path().rglob("*.txt")) if path.is_file()}

publish("old")
seen, status, count = [], signal.SIGKILL, 0
while os.WIFSIGNALED(status):
    count += 1
    child = os.fork()
    if not child:
        die_at(count)
        publish(f"new {count}")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    seen.append(look())
print(json.dumps(seen))
sys.exit(status != 0)
"""


def start(place: Path, program: str, can_exchange: bool, *args: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PUBLISH + program, str(place), str(can_exchange), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_whole(found: dict[str, str], folder: str) -> bool:
    """Whether all files of a folder are of one generation."""
    return len({found.get(f"{folder}/{name}", f"no {name}") for name in FILES}) == 1


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_kill_between_any_two_operations_leaves_a_whole_result_and_later_no_litter(can_exchange, tmp_path):
    process = start(tmp_path, KILLED, can_exchange)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    seen = json.loads(printed)
    assert len(seen) > 30
    lost = [number for number, found in enumerate(seen) if not is_whole(found, "out")]
    # In two steps there is a moment with neither; what was there lies beside, until there is something again.
    beside = [{name.split("/")[0] for name in seen[number] if ".old.leyden.partial/" in name} for number in lost]
    assert all(
        is_whole(seen[number], folder) for number, folders in zip(lost, beside, strict=True) for folder in folders
    )
    assert len(lost) <= (0 if can_exchange else 3) and all(len(folders) == 1 for folders in beside)
    assert all(
        len(found["out.txt"].splitlines()) == 1000 and len(set(found["out.txt"].splitlines())) == 1 for found in seen
    )
    assert names(tmp_path) == ["out", "out.txt"]  # the last one was not killed
    assert set(seen[-1].values()) == {f"new {len(seen)}", f"new {len(seen)}\n" * 1000}


def read_folder(folder: Path) -> dict[str, str] | None:
    """Read a published folder; None where another took its place meanwhile, after which it is removed."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        found = {}
        for name in FILES:
            with open(os.open(name, os.O_RDONLY, dir_fd=opened)) as file:
                found[f"out/{name}"] = file.read()
    except FileNotFoundError:
        found = {}
    finally:
        is_current = os.path.samestat(os.fstat(opened), folder.stat())
        os.close(opened)
    return found if is_current else None


@pytest.mark.parametrize("can_exchange", [True, False])
def test_two_that_publish_at_once_both_succeed_and_a_reader_always_finds_a_whole_result(can_exchange, tmp_path):
    first = start(tmp_path, "publish('first')", can_exchange)
    assert first.communicate() == ("", "")
    publishers = [start(tmp_path, AGAIN_AND_AGAIN, can_exchange, name) for name in ("first", "other")]
    assert [process.stdout.readline() for process in publishers if process.stdout] == ["ready\n"] * 2
    num_read = 0
    while any(process.poll() is None for process in publishers):
        assert len(set((tmp_path / "out.txt").read_text().splitlines())) == 1
        if (
            can_exchange and (found := read_folder(tmp_path / "out")) is not None
        ):  # in two steps there is a moment with neither
            assert is_whole(found, "out"), found
            num_read += 1
    assert [process.communicate()[1] for process in publishers] == ["", ""]
    assert [process.returncode for process in publishers] == [0, 0]
    found = read_folder(tmp_path / "out")
    assert found and is_whole(found, "out") and set(found.values()) & {"first 99", "other 99"}
    assert num_read or not can_exchange
    assert names(tmp_path) == ["out", "out.txt"]


@pytest.fixture
def after_the_first_step(tmp_path, monkeypatch):
    """Have something happen, once, when a folder was moved aside and the new one is not in its place yet."""
    rename, waiting = Path.rename, []

    def interrupted(path, other):
        result = rename(path, other)
        if waiting and ".old." in Path(other).name:
            waiting.pop()()
        return result

    monkeypatch.setattr(leyden.files.partials, "exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    return waiting.append


def publish(folder: Path, generation: str) -> None:
    with replaced_folder(folder, "report") as partial:
        (partial / "0.txt").write_text(generation)


def test_one_that_comes_between_the_two_steps_is_replaced_too(after_the_first_step, tmp_path):
    publish(tmp_path / "out", "old")
    after_the_first_step(lambda: publish(tmp_path / "out", "between"))
    publish(tmp_path / "out", "new")
    assert (tmp_path / "out/0.txt").read_text() == "new" and names(tmp_path) == ["out"]


def test_what_was_moved_aside_is_moved_back_when_the_second_step_fails(after_the_first_step, tmp_path, monkeypatch):
    publish(tmp_path / "out", "old")
    after_the_first_step(lambda: next(tmp_path.glob(".out.????????.leyden.partial")).rename(tmp_path / "stolen"))
    with pytest.raises(UserError, match="got: No such file"):
        publish(tmp_path / "out", "new")
    assert (tmp_path / "out/0.txt").read_text() == "old" and names(tmp_path) == ["out", "stolen"]


def test_what_only_looks_like_a_partial_is_kept(tmp_path):
    """Its name is the user's; a pipe of ours would not open."""
    (tmp_path / ".out.0123abcd.partial").mkdir()
    (tmp_path / ".out.0123abcd.partial/photo.jpg").touch()
    os.mkfifo(tmp_path / ".out.01234567.leyden.partial")
    publish(tmp_path / "out", "new")
    assert names(tmp_path) == [".out.01234567.leyden.partial", ".out.0123abcd.partial", "out"]


def test_a_folder_that_cannot_be_renamed_is_replaced_all_the_same(tmp_path, monkeypatch):
    """As one that a container's image has brought."""
    rename = Path.rename

    def refuse(path, other):
        if path == tmp_path / "out":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, other)

    publish(tmp_path / "out", "old")
    monkeypatch.setattr(leyden.files.partials, "exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", refuse)
    publish(tmp_path / "out", "new")
    assert (tmp_path / "out/0.txt").read_text() == "new" and names(tmp_path) == ["out"]
