"""Listing and reading of a data folder's files, including those in .zip and .tar archives, without unpacking."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from leyden.data.images import SUFFIXES as IMAGE_SUFFIXES
from leyden.data.images import walk_files
from leyden.data.packed import SPLITS
from leyden.data.sequences import SUFFIXES as SEQUENCE_SUFFIXES
from leyden.errors import UserError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


class FileEntry(NamedTuple):
    """A file in the data folder or in an archive."""

    path: str  # its name for the user
    parts: tuple[str, ...]  # of the path that it would have if every archive were unpacked next to itself
    archive: str = ""  # path of its archive, or empty
    member: str = ""  # its name in the archive


def list_files(data: Path) -> Iterator[FileEntry]:
    """List the files of a folder and of its archives, in the order in which they are read."""
    try:
        prefix = len(os.path.join(data, ""))  # noqa: PTH118 - Path.relative_to takes longer than the rest of the walk
        for entry in walk_files(data):
            path = entry.path[prefix:].replace(os.sep, "/")
            if path.lower().endswith(ARCHIVES):
                yield from list_archive(data, path)
            else:
                yield FileEntry(path, tuple(path.split("/")))
    except OSError as error:
        raise UserError(
            f"expected to read {error.filename or data}; got: {error.strerror}; change its permissions or move it away"
        ) from error


def list_archive(data: Path, archive: str) -> Iterator[FileEntry]:
    """List an archive's files.

    A single folder around all class folders is left out; files at the top level belong to a class named like the
    archive.
    """
    *parents, name = archive.split("/")
    stem = next(
        name[: -len(suffix)] for suffix in sorted(ARCHIVES, key=len, reverse=True) if name.lower().endswith(suffix)
    )
    with open_archive(data / archive) as file:
        members = file.namelist() if isinstance(file, zipfile.ZipFile) else list_tar(file)
    parts_of = {member: parts for member in members if (parts := visible_parts(member))}
    num_skipped = int(is_wrapped(list(parts_of.values())))
    for member, all_parts in parts_of.items():
        parts = all_parts[num_skipped:]
        class_folder = [stem] if len(parts) == 1 else []
        path = f"{archive}/{member.removeprefix('./')}"
        yield FileEntry(path, (*parents, *class_folder, *parts), archive, member)


def list_tar(archive: tarfile.TarFile) -> list[str]:
    """List a tar's files, and read it to its end to find damage.

    `tarfile` treats a damaged header as the end of the archive, and gzip's checksum comes last.
    """
    names = [info.name for info in archive if info.isfile()]
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    while block := archive.fileobj.read(1 << 20):
        if any(block):
            raise tarfile.ReadError(f"damaged after {len(names)} files")
    return names


def visible_parts(member: str) -> tuple[str, ...]:
    """Split a member's name; empty for folders and for hidden files, such as those that macOS adds."""
    parts = tuple(member.removeprefix("./").split("/"))
    return () if any(not part or part.startswith(".") for part in parts) else parts


def is_wrapped(members: list[tuple[str, ...]]) -> bool:
    """Check whether a single folder, which is neither a class nor a split, holds all folders of an archive."""
    top_folders = {parts[0] for parts in members}
    examples = [parts for parts in members if parts[-1].lower().endswith(tuple(IMAGE_SUFFIXES | SEQUENCE_SUFFIXES))]
    return (
        len(top_folders) == 1
        and not top_folders & set(SPLITS)
        and all(len(parts) > 2 for parts in examples)
        and len({parts[1] for parts in examples}) > 1
    )


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    """Open an archive; a damaged or encrypted one is a `UserError`, also if that is detected while it is read."""
    try:
        with zipfile.ZipFile(path) if path.suffix.lower() == ".zip" else tarfile.open(path) as file:
            yield file
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # gzip.BadGzipFile has none
            raise
        raise UserError(
            f"expected a complete archive; {path} cannot be read ({error}); "
            "download it again, or unpack it into a folder"
        ) from error


def read_contents(data: Path, files: Iterable[FileEntry]) -> Iterator[bytes | None]:
    """Yield the content of files in archives, which one process must read in order, and None for other files."""
    for archive, group in groupby(files, key=lambda file: file.archive):
        members = [file.member for file in group]
        if not archive:
            yield from (None for _ in members)
            continue
        with open_archive(data / archive) as file:
            yield from (
                (file.read(member) for member in members)
                if isinstance(file, zipfile.ZipFile)
                else read_tar(file, set(members))
            )


def read_tar(archive: tarfile.TarFile, wanted: set[str]) -> Iterator[bytes]:
    """Read members in the order of the tar: seeking back in a compressed one would decompress it again."""
    for info in archive:
        if info.isfile() and info.name in wanted:
            wanted.remove(info.name)
            content = archive.extractfile(info)
            assert content is not None, info.name
            yield content.read()
