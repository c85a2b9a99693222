"""Half-written outputs: uniquely named beside their target, locked while written, moved in place in one step."""

import ctypes
import errno
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
except ImportError:  # Windows: nothing is locked there, and nothing is considered stale
    fcntl = None  # type: ignore[assignment]

TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux: fcntl.h, fs.h


@contextmanager
def partial_of(target: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """Make a partial file or folder for `target`; what its name holds at the end is removed.

    Those of killed processes are removed first: their locks can be taken.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(target)
    partial, lock = make_locked(target, make)
    try:
        yield partial
    finally:
        remove(partial)
        os.close(lock)


def make_locked(target: Path, make: Callable[[Path], object]) -> tuple[Path, int]:
    """Make a partial and lock it, until the descriptor is closed or the process ends."""
    while True:
        partial = name_beside(target)
        make(partial)
        with suppress(FileNotFoundError):  # considered stale before it was locked
            lock = os.open(partial, os.O_RDONLY)
            with suppress(OSError):  # file systems without locks: nobody takes it for stale there
                if fcntl:
                    fcntl.flock(lock, fcntl.LOCK_EX)
            if partial.exists():
                return partial, lock
            os.close(lock)


def name_beside(target: Path, kind: str = "") -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{kind}.leyden.partial")


def remove_stale(target: Path) -> None:
    """Remove partials that no process writes any more. What was moved aside stays while nothing is in its place."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}(\.old)?\.leyden\.partial")
    with suppress(PermissionError):  # a folder may be written to and not listed
        for path in target.parent.iterdir():
            if (named := pattern.fullmatch(path.name)) and (not named[1] or target.exists()):
                remove_unlocked(path)


def remove_unlocked(path: Path) -> None:
    if fcntl is None:
        return
    with suppress(OSError):  # gone, or locked
        lock = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # a pipe of that name would not open
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISREG(mode := os.fstat(lock).st_mode) or stat.S_ISDIR(mode):
                remove(path)
        finally:
            os.close(lock)


def remove(path: Path) -> None:
    """Remove a file or a folder, where it is there; another process may do the same."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def put_in_place(partial: Path, target: Path, check: Callable[[], None]) -> None:
    """Move a folder to `target`; what was there before is removed, or moved to `partial` for its owner to remove.

    Others may do the same at once: all succeed, and one whole folder stays.

    Args:
        partial: The folder, on the same file system.
        target: Where it goes; a folder or nothing.
        check: Called before a folder that is not empty is replaced; raises if it must not be.
    """
    while True:
        try:
            partial.rename(target)  # nothing is there, or an empty folder
            remove_stale(target)  # what one that was killed between two steps had moved aside
            return
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        check()
        if exchange(partial, target) or replace_in_two_steps(partial, target):
            return


def exchange(one: Path, other: Path) -> bool:
    """Swap two names, so that neither is ever missing; return False where the (file) system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2 if sys.platform == "linux" else None
    except AttributeError:  # a C library from before 2018
        renameat2 = None
    names = os.fsencode(one), os.fsencode(other)
    return renameat2 is not None and renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0


def replace_in_two_steps(partial: Path, target: Path) -> bool:
    """Move a folder to `target`, and what was there aside first; False where another process came in between."""
    old = name_beside(target, ".old")
    try:
        target.rename(old)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        remove(target)  # a folder of an image's lower layer (overlayfs) can be removed and not renamed
    try:
        partial.rename(target)
        done = True
    except OSError as error:
        if error.errno not in TAKEN:
            old.rename(target)
            raise
        done = False
    remove(old)
    return done
