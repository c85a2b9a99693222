"""Partial files and folders: uniquely named beside their target, locked while written, moved into place in one step."""

import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: partials are not locked there, and never considered stale
    fcntl = None  # type: ignore[assignment]

NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # from Linux's fcntl.h and fs.h
MAX_NAME_BYTES = 200  # of 255 on most file systems


@contextmanager
def create_partial(target: Path, create: Callable[[Path], object]) -> Iterator[Path]:
    """Create a partial file or folder for `target`, and remove whatever has its name when the block ends.

    Partials left by processes that were killed are removed first: nothing holds their locks.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_partials(target)
    partial, lock = create_locked(target, create)
    try:
        yield partial
    finally:
        remove(partial)
        os.close(lock)


def create_locked(target: Path, create: Callable[[Path], object]) -> tuple[Path, int]:
    """Create a partial and lock it until the returned descriptor is closed or the process ends."""
    while True:
        partial = partial_name(target)
        create(partial)
        with suppress(FileNotFoundError):  # another process removed it as stale before it was locked
            lock = os.open(partial, os.O_RDONLY)
            with suppress(OSError):  # on file systems without locks no process considers it stale
                if fcntl:
                    fcntl.flock(lock, fcntl.LOCK_EX)
            if partial.exists():
                return partial, lock
            os.close(lock)


def partial_name(target: Path, kind: str = "") -> Path:
    return target.with_name(f".{short_name(target)}.{secrets.token_hex(4)}{kind}.leyden.partial")


def short_name(target: Path) -> str:
    """Return the target's name, or its start and its hash if a partial's name would be too long for the file system."""
    name = os.fsencode(target.name)
    return target.name if len(name) <= MAX_NAME_BYTES else f"{target.name[:32]}.{hashlib.sha256(name).hexdigest()[:16]}"


def remove_stale_partials(target: Path) -> None:
    """Remove partials that no process is writing; an old result moved aside is kept while `target` is missing."""
    pattern = re.compile(rf"\.{re.escape(short_name(target))}\.[0-9a-f]{{8}}(\.old)?\.leyden\.partial")
    with suppress(PermissionError):  # the parent folder may be writable but not readable
        for path in target.parent.iterdir():
            if (match := pattern.fullmatch(path.name)) and (not match[1] or target.exists()):
                remove_unlocked(path)


def remove_unlocked(path: Path) -> None:
    """Remove a file or folder unless another process has locked it."""
    if fcntl is None:
        return
    with suppress(OSError):  # already removed, or locked
        # Without O_NONBLOCK, opening a pipe would block.
        lock = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISREG(mode := os.fstat(lock).st_mode) or stat.S_ISDIR(mode):
                remove(path)
        finally:
            os.close(lock)


def remove(path: Path) -> None:
    """Remove a file or folder if it exists; another process may be removing it too."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def move_into_place(partial: Path, target: Path, check: Callable[[], None]) -> None:
    """Move a folder to `target`; an old folder there is removed, or moved to `partial` for the caller to remove.

    Several processes may do this at the same time: all succeed, and one complete folder remains. Before a folder that
    is not empty is replaced, `check` is called, which raises if it must not be.
    """
    while True:
        try:
            partial.rename(target)  # succeeds if nothing is there, or an empty folder
            remove_stale_partials(target)  # old results that a process killed between two steps had moved aside
            return
        except OSError as error:
            if error.errno not in NOT_EMPTY:
                raise
        check()
        if exchange(partial, target) or replace_in_two_steps(partial, target):
            return


def exchange(first: Path, second: Path) -> bool:
    """Swap two names so that neither is ever missing; return False where the operating or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2 if sys.platform == "linux" else None
    except AttributeError:  # a C library from before 2018
        renameat2 = None
    names = os.fsencode(first), os.fsencode(second)
    return renameat2 is not None and renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0


def replace_in_two_steps(partial: Path, target: Path) -> bool:
    """Move the old folder aside and `partial` to `target`; return False if another process wrote there in between."""
    old = partial_name(target, ".old")
    try:
        target.rename(old)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        remove(target)  # overlayfs can remove, but not rename, a folder from a lower layer of a container image
    try:
        partial.rename(target)
        is_done = True
    except OSError as error:
        if error.errno not in NOT_EMPTY:
            old.rename(target)
            raise
        is_done = False
    remove(old)
    return is_done
