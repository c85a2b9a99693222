"""Listing and reading of a data folder's files, including those in .zip and .tar archives, without unpacking."""

import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from leyden.data.listing import HIDDEN, LeftOut, is_hidden, walk_files
from leyden.data.sequences import SUFFIXES as SEQUENCE_SUFFIXES
from leyden.errors import UserError, one_line
from leyden.files.regular_files import MAX_FILE_BYTES, check_regular, larger_than
from leyden.imaging.images import SUFFIXES as IMAGE_SUFFIXES
from leyden.stages.prepare.archive_members import Member, list_tar, list_zip, open_tar, read_zip_member
from leyden.stages.prepare.layout import split_of

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


class FileEntry(NamedTuple):
    """A file in the data folder or in an archive."""

    path: str  # its name for the user
    parts: tuple[str, ...]  # of the path that it would have if every archive were unpacked next to itself
    archive: str = ""  # path of its archive, or empty
    member: str = ""  # its name in the archive


def list_files(data: Path, left_out: LeftOut) -> Iterator[FileEntry]:
    """List the files of a folder and of its archives, in the order in which they are read."""
    with one_line_errors(data):
        prefix = len(os.path.join(data, ""))  # noqa: PTH118 - Path.relative_to takes longer than the rest of the walk
        for entry in walk_files(data, left_out):
            path = entry.path[prefix:].replace(os.sep, "/")
            if path.lower().endswith(ARCHIVES):
                yield from list_archive(data, path, left_out)
            else:
                yield FileEntry(path, tuple(path.split("/")))


@contextmanager
def one_line_errors(data: Path) -> Iterator[None]:
    """Raise the operating system's errors as UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"expected to read {error.filename or data}; got: {error.strerror}; change its permissions or move it away"
        ) from error


def list_archive(data: Path, archive: str, left_out: LeftOut) -> Iterator[FileEntry]:
    """List an archive's files.

    A single folder around all class folders is left out; files at the top level belong to a class named like the
    archive, and class folders in an archive that is named like a split belong to it.
    """
    *parents, name = archive.split("/")
    stem = next(
        name[: -len(suffix)] for suffix in sorted(ARCHIVES, key=len, reverse=True) if name.lower().endswith(suffix)
    )
    with open_archive(data / archive) as file:
        members = list(list_zip(file) if isinstance(file, zipfile.ZipFile) else list_tar(file))
    parts_of: dict[Member, tuple[str, ...]] = {}
    for member in members:
        parts = tuple(part for part in member.path.split("/") if part not in ("", "."))
        if ".." in parts:
            left_out.add("archive members outside of the archive's folder", f"{archive}/{member.path}")
        elif any(map(is_hidden, parts)):
            left_out.add(HIDDEN, f"{archive}/{member.path}")
        elif not member.is_regular:
            left_out.add("archive members other than files", f"{archive}/{member.path}")
        elif member in parts_of:
            left_out.add("archive members of the same name as another", f"{archive}/{member.path}")
        elif parts:
            parts_of[member] = parts
    if not parts_of:
        left_out.add("archives without files", archive)
    num_skipped = int(is_wrapped(list(parts_of.values())))
    has_splits = any(split_of(parts[num_skipped]) for parts in parts_of.values())
    for member, all_parts in parts_of.items():
        parts = all_parts[num_skipped:]
        is_in_folder_of_archive = len(parts) == 1 or (split_of(stem) and not has_splits)
        path = f"{archive}/{member.path.removeprefix('./')}"
        folder = [stem] if is_in_folder_of_archive else []
        yield FileEntry(path, (*parents, *folder, *parts), archive, member.name)


def is_wrapped(members: list[tuple[str, ...]]) -> bool:
    """Check whether a single folder, which is neither a class nor a split, holds all folders of an archive."""
    top_folders = {parts[0] for parts in members}
    examples = [parts for parts in members if parts[-1].lower().endswith(tuple(IMAGE_SUFFIXES | SEQUENCE_SUFFIXES))]
    return (
        len(top_folders) == 1
        and not any(map(split_of, top_folders))
        and all(len(parts) > 2 for parts in examples)
        and len({parts[1] for parts in examples}) > 1
    )


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    """Open an archive; a damaged or encrypted one is a `UserError`, also if that is detected while it is read."""
    check_regular(path, path.stat(), sys.maxsize)
    try:
        with zipfile.ZipFile(path) if path.suffix.lower() == ".zip" else open_tar(path) as file:
            yield file
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # gzip.BadGzipFile has none
            raise
        raise UserError(
            f"expected a complete archive; {path} cannot be read ({one_line(error)}); "
            "download it again, or unpack it into a folder"
        ) from error


def read_contents(data: Path, files: Iterable[FileEntry]) -> Iterator[bytes | str | None]:
    """Yield the content of files in archives, which one process must read in order, and None for other files.

    For a file of more than MAX_FILE_BYTES, it is a text with the reason why it is not read.
    """
    for archive, group in groupby(files, key=lambda file: file.archive):
        members = [file.member for file in group]
        if not archive:
            yield from (None for _ in members)
            continue
        with open_archive(data / archive) as file:
            if isinstance(file, zipfile.ZipFile):
                yield from (read_zip_member(file, member, MAX_FILE_BYTES) for member in members)
            else:
                yield from read_tar(file, set(members))


def read_tar(archive: tarfile.TarFile, wanted: set[str]) -> Iterator[bytes | str]:
    """Read members in the order of the tar: seeking back in a compressed one would decompress it again."""
    for info in archive:
        if info.isfile() and info.name in wanted:
            wanted.remove(info.name)
            if info.size > MAX_FILE_BYTES:
                yield larger_than(MAX_FILE_BYTES)
            else:
                content = archive.extractfile(info)
                assert content is not None, info.name
                yield content.read()
