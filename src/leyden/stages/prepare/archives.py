"""List and read a data folder's files, those inside .zip and .tar archives included, without unpacking anything."""

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
    """A file: `path` names it to the user; `place` says where it would lie if archives were unpacked beside themselves."""

    path: str
    place: tuple[str, ...]
    archive: str = ""
    member: str = ""


def list_files(data: Path) -> Iterator[FileEntry]:
    """List the files of a folder and of its archives, in the order in which they are read.

    Raises:
        UserError: if a folder or an archive cannot be read.
    """
    try:
        skip = len(os.path.join(data, ""))  # noqa: PTH118 - Path.relative_to takes longer than the rest of the walk
        for entry in walk_files(data):
            path = entry.path[skip:].replace(os.sep, "/")
            if path.lower().endswith(ARCHIVES):
                yield from list_archive(data, path)
            else:
                yield FileEntry(path, tuple(path.split("/")))
    except OSError as error:
        raise UserError(
            f"expected to read {error.filename or data}; got: {error.strerror}; mend its permissions or move it away"
        ) from error


def list_archive(data: Path, archive: str) -> Iterator[FileEntry]:
    """List an archive's files; images at its top are a class of the archive's name, a folder around everything is left out."""
    *parents, name = archive.split("/")
    stem = next(
        name[: -len(suffix)] for suffix in sorted(ARCHIVES, key=len, reverse=True) if name.lower().endswith(suffix)
    )
    with opened(data / archive) as file:
        members = file.namelist() if isinstance(file, zipfile.ZipFile) else list_tar(file)
    places = {member: parts for member in members if (parts := visible_parts(member))}
    skip = is_wrapped(list(places.values()))
    for member, parts in places.items():
        below = parts[skip:]
        yield FileEntry(
            f"{archive}/{member.removeprefix('./')}",
            (*parents, *([stem] if len(below) == 1 else []), *below),
            archive,
            member,
        )


def list_tar(archive: tarfile.TarFile) -> list[str]:
    """List a tar's files, and read it to its end: `tarfile` takes a damaged header for the end, and gzip's checksum comes last.

    Raises:
        ReadError: if anything but zeros follows what was listed.
    """
    names = [info.name for info in archive if info.isfile()]
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    while block := archive.fileobj.read(1 << 20):
        if any(block):
            raise tarfile.ReadError(f"damaged after {len(names)} files")
    return names


def visible_parts(member: str) -> tuple[str, ...]:
    """Split a member's name; empty for folders and hidden files, such as what macOS adds."""
    parts = tuple(member.removeprefix("./").split("/"))
    return () if any(not part or part.startswith(".") for part in parts) else parts


def is_wrapped(places: list[tuple[str, ...]]) -> bool:
    """Tell whether one folder, itself neither class nor split, holds all the folders of an archive."""
    tops = {parts[0] for parts in places}
    examples = [parts for parts in places if parts[-1].lower().endswith(tuple(IMAGE_SUFFIXES | SEQUENCE_SUFFIXES))]
    return (
        len(tops) == 1
        and not tops & set(SPLITS)
        and all(len(parts) > 2 for parts in examples)
        and len({parts[1] for parts in examples}) > 1
    )


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    """Open an archive.

    Raises:
        UserError: if it is damaged or encrypted, also when that shows only while it is read.
    """
    try:
        with zipfile.ZipFile(path) if path.suffix.lower() == ".zip" else tarfile.open(path) as file:
            yield file
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"expected a whole archive; {path} cannot be read ({error}); fetch it again, or unpack it into a folder"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(
            f"expected a whole archive; {path} is damaged ({error}); fetch it again"
        ) from error  # gzip.BadGzipFile


def read_contents(data: Path, files: Iterable[FileEntry]) -> Iterator[bytes | None]:
    """Give files' bytes where they lie in archives, which one process must read in their order; None for a file of its own."""
    for archive, group in groupby(files, key=lambda file: file.archive):
        members = [file.member for file in group]
        if not archive:
            yield from (None for _ in members)
            continue
        with opened(data / archive) as file:
            yield from (
                (file.read(member) for member in members)
                if isinstance(file, zipfile.ZipFile)
                else read_tar(file, set(members))
            )


def read_tar(archive: tarfile.TarFile, wanted: set[str]) -> Iterator[bytes]:
    """Read a tar from front to back: going back in a compressed one would decompress it again."""
    for info in archive:
        if info.isfile() and info.name in wanted:
            wanted.remove(info.name)
            content = archive.extractfile(info)
            assert content is not None, info.name
            yield content.read()
