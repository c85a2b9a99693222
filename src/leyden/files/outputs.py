"""Where a verb may write: a place that is free, empty or of its own making, and apart from what it reads."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leyden.errors import DISK_FULL, UserError
from leyden.files.partials import name_beside, remove

MARKER = ".leyden"  # the name of what made a folder, and below it those of the files that it wrote
KEPT = ".gitignore"  # DVC writes it beside outputs
BY_OTHERS = (MARKER, KEPT, ".DS_Store", "Thumbs.db", "desktop.ini")  # no work of anybody's


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
    if target == Path.cwd() or target in Path.cwd().parents:
        raise UserError(f"expected a folder that can be replaced; {out} holds the current one; name a folder inside it")
    check_parent(out, target)
    if (name := find_stranger(target, owner)) is not None:
        raise UserError(
            f"expected no {out} yet, an empty folder or an earlier result of {owner}; it holds other files ({name}), "
            "which would be lost; name another place, or move them away"
        )


def check_file(out: Path) -> None:
    """Check that a file may be written.

    Raises:
        UserError: if it is a folder, a socket, a loop of links or read-only, or cannot be made.
    """
    with one_line_errors(out):
        target = resolved(out)
        kinds = {"folder": out.is_dir(), "socket": out.is_socket(), "loop of links": target.is_symlink()}
        kinds["read-only file"] = target.is_file() and not os.access(target, os.W_OK)
        if kind := next((kind for kind, is_one in kinds.items() if is_one), None):
            raise UserError(f"expected a file to write; {out} is a {kind}; name a file")
        if not is_stream(out):
            check_parent(out, target)


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
    return any(map(is_descriptor, links_of(path))) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_descriptor(path: Path) -> bool:
    folder = resolved(path.parent)
    return folder in (Path("/dev"), Path("/dev/fd")) or Path("/proc") in folder.parents


def links_of(path: Path) -> Iterator[Path]:
    """Yield a path and the links that it leads through; it exists, so they end."""
    yield path
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield path


def find_stranger(target: Path, owner: str) -> str | None:
    """Return the name of a file in a folder that `owner` has not written; None where there is no such folder or file."""
    with suppress(FileNotFoundError):
        before = target.stat()
        if (written := written_by(target, owner)) is None:
            return None
        found = next((name for name in files_in(target) if name not in written), None)
        if found is None or os.path.samestat(before, target.stat()):
            return found
    # Another process has put its own there, and removes the one that was looked at.
    return find_stranger(target, owner) if target.exists() else None


def written_by(target: Path, owner: str) -> set[str] | None:
    """Return the files that `owner` says it wrote, by the folder's marker; None where all are its own: a stage's under artifacts/."""
    if target.parent == resolved(Path("artifacts")) and target.name in (owner, f"{owner}-failed"):
        return None
    marker = target / MARKER
    if not marker.is_file() or marker.is_symlink():
        return set()
    name, *files = marker.read_bytes().decode(errors="surrogateescape").split("\n")  # as os.walk names them
    return set(files) if name == owner else set()


def files_in(folder: Path) -> Iterator[str]:
    """Yield the names of all files below a folder, but for those that programs leave everywhere."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        names = (name for name in (*files, *links) if name not in BY_OTHERS)
        yield from (os.path.relpath(os.path.join(parent, name), folder) for name in names)  # noqa: PTH118


def mark(folder: Path, owner: str) -> None:
    """Write which files of a folder are its owner's."""
    lines = "\n".join([owner, *sorted(files_in(folder))])
    (folder / MARKER).write_bytes(f"{lines}\n".encode(errors="surrogateescape"))


def is_made_by(target: Path, owner: str) -> bool:
    """Return whether a folder is there, and nothing in it but what `owner` wrote."""
    return target.is_dir() and any(target.iterdir()) and find_stranger(target, owner) is None


def discard(folder: Path, owner: str) -> None:
    """Remove a folder if `owner` has made it."""
    if not folder.is_symlink() and is_made_by(resolved(folder), owner):
        with suppress(FileNotFoundError):  # another process does the same
            folder.rename(gone := name_beside(folder))
            remove(gone)
