"""Where a verb may write: a place that is free, empty or of its own making, and apart from what it reads."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leyden.errors import UserError
from leyden.partials import name_beside, remove

MARKER = ".leyden"  # holds the name of what made a folder
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def one_line_errors(out: Path) -> Iterator[None]:
    """Raise the operating system's errors as UserError; not a full disk, which callers handle."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        reason = f"got: {error.strerror}; name another place or change its permissions"
        raise UserError(f"expected to write {out}; {reason}") from error


def resolved(path: Path) -> Path:
    """Return the absolute path, with symlinks followed; a loop of them ends as an error when it is written to."""
    return Path(os.path.realpath(path))


def check_output(out: Path, owner: str, inputs: Iterable[Path]) -> None:
    """Check before any long work that a folder may be written.

    Args:
        out: The folder.
        owner: What makes it, as in `replaced_folder`.
        inputs: Files and folders that are read.

    Raises:
        UserError: if it is, holds or lies in an input, holds what `owner` has not made, or cannot be made.
    """
    check_apart(out, inputs)
    check_folder(out, owner)


def check_apart(out: Path, inputs: Iterable[Path], option: str = "--out") -> None:
    """Check that writing `out`, a file or a folder, changes nothing that is read.

    Raises:
        UserError: if it is an input, holds one or lies in one.
    """
    target = resolved(out)
    for given in inputs:
        source = resolved(given)
        if target == source or source in target.parents or target in source.parents:
            relation = "is" if target == source else "lies in" if source in target.parents else "holds"
            wrong = f"{out} {relation} {given}; give another {option}"
            raise UserError(f"expected an output apart from what is read; {wrong}")


def check_folder(out: Path, owner: str) -> None:
    """Check that a folder may be made or replaced.

    Raises:
        UserError: if it holds what `owner` has not made, or cannot be made.
    """
    with one_line_errors(out):
        check_target(out, resolved(out), owner)


def check_target(out: Path, target: Path, owner: str) -> None:
    # One look each: another process may put its own there meanwhile.
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISDIR(target.lstat().st_mode):
            raise UserError(f"expected a folder to write to; {out} is a file; name another place")
    if os.path.ismount(target):
        raise UserError(f"expected a folder that can be replaced; {out} is a mount point; name a folder inside it")
    check_parent(out, target)
    if not is_empty_or_made_by(target, owner):
        raise UserError(
            f"expected no {out} yet, an empty folder or an earlier result of {owner}; it holds other files, "
            "which would be lost; name another place, or move them away"
        )


def check_file(out: Path) -> None:
    """Check that a file may be written.

    Raises:
        UserError: if it is a folder or a socket, or cannot be made.
    """
    with one_line_errors(out):
        if out.is_dir() or out.is_socket():
            kind = "folder" if out.is_dir() else "socket"
            raise UserError(f"expected a file to write; {out} is a {kind}; name a file")
        if not is_stream(out):
            check_parent(out, resolved(out))


def check_parent(out: Path, target: Path) -> None:
    """Check the nearest folder above that exists.

    Raises:
        UserError: if it is a file, or may not be written to.
    """
    above = next(folder for folder in target.parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"expected to write {out}; {above} is a file, not a folder; name another place")
    if not os.access(above, os.W_OK | os.X_OK):
        reason = f"{above} may not be written to; name another place or change its permissions"
        raise UserError(f"expected to write {out}; {reason}")


def is_stream(path: Path) -> bool:
    """Return whether a file is written in place: a pipe, a device, or a process's descriptor (/dev/stdout)."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    folder = resolved(path.parent)
    is_descriptor = folder in (Path("/dev"), Path("/dev/fd")) or Path("/proc") in folder.parents
    return is_descriptor or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_empty_or_made_by(target: Path, owner: str) -> bool:
    with suppress(FileNotFoundError):
        before = target.stat()
        if is_made_by(target, owner) or not any(target.iterdir()):
            return True
        if os.path.samestat(before, target.stat()):
            return False
    # Another process has put its own there, and removes the one that was looked at.
    return not target.exists() or is_empty_or_made_by(target, owner)


def is_made_by(target: Path, owner: str) -> bool:
    """Return whether a folder, symlinks followed, has the owner's marker, or is the stage's own under artifacts/."""
    if target.parent == resolved(Path("artifacts")) and target.name in (owner, f"{owner}-failed"):
        return True
    try:
        return (target / MARKER).read_bytes() == f"{owner}\n".encode()
    except OSError:
        return False


def discard(folder: Path, owner: str) -> None:
    """Remove a folder if `owner` has made it."""
    if folder.is_dir() and not folder.is_symlink() and is_made_by(resolved(folder), owner):
        folder.rename(gone := name_beside(folder))
        remove(gone)
