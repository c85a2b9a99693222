"""Checks of output paths: a verb replaces only what it wrote itself, and never what it reads."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leyden.errors import DISK_FULL, UserError
from leyden.files.partials import partial_name, remove

# The marker's first line names the verb or stage that wrote the folder, the other lines the files that it wrote.
MARKER = ".leyden"
METRICS = "metrics.json"
MAX_NAMED = 3
PRESERVED = ".gitignore"  # DVC writes it beside outputs
IGNORED = (MARKER, PRESERVED, ".DS_Store", "Thumbs.db", "desktop.ini")  # not the user's work


@contextmanager
def one_line_errors(out: Path) -> Iterator[None]:
    """Raise the operating system's errors as UserError, except for a full disk, which callers handle."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise UserError(
            f"expected to write {out}; got: {error.strerror}; choose a different path or change its permissions"
        ) from error


def resolved(path: Path) -> Path:
    """Return the absolute path with symlinks followed; a loop of symlinks is an error only when it is written to."""
    return Path(os.path.realpath(path))


def check_output(out: Path, owner: str, inputs: Iterable[Path]) -> None:
    """Check, before any long computation, that `owner` (a verb or stage) may write the folder `out`.

    Raises:
        UserError: if it is, contains or is inside an input, contains files that `owner` did not write, or cannot be
            created.
    """
    check_no_overlap(out, inputs)
    check_folder(out, owner)


def check_no_overlap(out: Path, inputs: Iterable[Path], option: str = "--out") -> None:
    """Check that writing `out`, a file or a folder, does not change an input.

    Raises:
        UserError: if it is, contains or is inside an input.
    """
    target = resolved(out)
    for path in inputs:
        source = resolved(path)
        if target.is_relative_to(source) or source.is_relative_to(target):
            relation = "is" if target == source else "is inside" if target.is_relative_to(source) else "contains"
            raise UserError(
                f"expected an output separate from all inputs; {out} {relation} {path}; choose a different {option}"
            )


def check_folder(out: Path, owner: str) -> None:
    """Check that a folder may be created or replaced.

    Raises:
        UserError: if it contains files that `owner` did not write, or cannot be created.
    """
    with one_line_errors(out):
        target = resolved(out)
        # A single lstat call: another process may replace the folder in the meantime.
        with suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISDIR(target.lstat().st_mode):
                raise UserError(f"expected a folder to write to; {out} is a file; choose a different path")
        is_mount, has_current_folder = os.path.ismount(target), Path.cwd().is_relative_to(target)
        if is_mount or has_current_folder:
            problem = "is a mount point" if is_mount else "contains the current folder"
            raise UserError(f"expected a folder that can be replaced; {out} {problem}; choose a folder inside it")
        check_parent(out, target)
        if names := find_foreign_files(target, owner):
            more = f" and {len(names) - MAX_NAMED:,} more" * (len(names) > MAX_NAMED)
            raise UserError(
                f"expected {out} to be missing, empty or an earlier result of {owner}; it contains other files "
                f"({', '.join(names[:MAX_NAMED])}{more}), which would be lost; choose a different path, or "
                "move them away"
            )


def check_file(out: Path, start: bytes = b"") -> None:
    """Check that a file may be written.

    Args:
        out: The file; a link to it, a pipe or a device.
        start: What the file begins with, by which an earlier one is recognised and may be replaced.

    Raises:
        UserError: if it is a folder, a socket, a loop of symlinks, read-only or another file, or cannot be created.
    """
    with one_line_errors(out):
        target = resolved(out)
        kinds = {"folder": out.is_dir(), "socket": out.is_socket(), "loop of symlinks": target.is_symlink()}
        kinds["read-only file"] = target.is_file() and not os.access(target, os.W_OK)
        if kind := next((kind for kind, is_kind in kinds.items() if is_kind), None):
            raise UserError(f"expected a file to write; {out} is a {kind}; choose a different path")
        if is_stream(out):
            return
        check_parent(out, target)
        if target.is_file() and (found := read_start(target, len(start))) and found != start:
            raise UserError(
                f"expected {out} to be missing, empty or an earlier result of this verb; it is another file, which "
                "would be lost; choose a different path, or move it away"
            )


def read_start(path: Path, num_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(num_bytes)


def check_parent(out: Path, target: Path) -> None:
    """Check the nearest parent folder that exists.

    Raises:
        UserError: if it is a file, or not writable.
    """
    parent = next(folder for folder in target.parents if folder.exists())
    if not parent.is_dir():
        raise UserError(f"expected to write {out}; {parent} is a file, not a folder; choose a different path")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(
            f"expected to write {out}; {parent} is not writable; choose a different path or change its permissions"
        )


def is_stream(path: Path) -> bool:
    """Return whether a file is written in place: a pipe, a device, or a process's descriptor (/dev/stdout)."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    folders = [resolved(link.parent) for link in follow_links(path)]
    is_special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return is_special or any(str(each) in ("/dev", "/dev/fd") or Path("/proc") in each.parents for each in folders)


def follow_links(path: Path) -> Iterator[Path]:
    """Yield an existing path, and every path that its symlinks lead through."""
    yield path
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield path


def find_foreign_files(target: Path, owner: str) -> list[str]:
    """Return the names of the files in a folder that `owner` did not write; none if there is no folder."""
    with suppress(FileNotFoundError):
        before = target.stat()
        own_files = read_own_files(target, owner)
        names = sorted(name for name in list_files(target) if name not in own_files)
        if not names or os.path.samestat(before, target.stat()):
            return names
    # Another process replaced the folder while it was read.
    return find_foreign_files(target, owner) if target.exists() else []


def read_own_files(target: Path, owner: str) -> set[str]:
    """Return the files in a folder that `owner` wrote: those that the marker lists for it.

    In a clone, a stage's folder in artifacts/ holds only its metrics, which are in git, until DVC pulls the others
    together with the marker.
    """
    marker = target / MARKER
    if not marker.is_file() or marker.is_symlink():
        return {METRICS} if target == resolved(Path("artifacts", owner)) else set()
    content = marker.read_bytes().decode(errors="surrogateescape")  # file names as os.walk decodes them
    name, *files = content.split("\n")
    return set(files) if name == owner else set()


def list_files(folder: Path) -> Iterator[str]:
    """Yield the relative names of all files below a folder, except those that other programs leave in any folder."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        names = (name for name in (*files, *links) if name not in IGNORED)
        yield from (os.path.relpath(os.path.join(parent, name), folder) for name in names)  # noqa: PTH118


def write_marker(folder: Path, owner: str) -> None:
    """Record in a folder which files `owner` wrote."""
    lines = "\n".join([owner, *sorted(list_files(folder))])
    (folder / MARKER).write_bytes(f"{lines}\n".encode(errors="surrogateescape"))


def is_made_by(target: Path, owner: str) -> bool:
    """Return whether a folder exists, is not empty and contains only files that `owner` wrote."""
    # A name that is too long for the file system is not made by anyone.
    return os.path.isdir(target) and any(target.iterdir()) and not find_foreign_files(target, owner)  # noqa: PTH112


def discard(folder: Path, owner: str) -> None:
    """Remove a folder if `is_made_by` its owner."""
    if is_made_by(resolved(folder), owner) and not folder.is_symlink():
        with suppress(FileNotFoundError):  # another process is removing it too
            folder.rename(discarded := partial_name(folder))
            remove(discarded)
