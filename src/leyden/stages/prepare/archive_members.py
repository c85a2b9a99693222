"""Members of .zip and .tar archives: their names and sizes, and limits against archives made to exhaust a machine."""

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from leyden.files.regular_files import larger_than

MAX_EXPANSION = 100  # archives of images expand a few times at most
MIN_EXPANDED_BYTES = 10 * 10**9  # smaller archives may expand more
MAX_HEADER_BYTES = 1 << 20  # of a tar: names of 4,096 bytes and their attributes; tarfile reads headers at once
BLOCK_BYTES = 4096  # zipfile does not limit what a block of bzip2 or LZMA expands to: 80 MB for this size
UTF8_NAME, ENCRYPTED = 0x800, 1  # flags of a zip's member


class Member(NamedTuple):
    """A member of an archive that is not a folder."""

    name: str  # as stored in the archive
    path: str  # the decoded name, with / between folders
    is_regular: bool  # not a link or a device


def list_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    infos = archive.infolist()
    if any(info.flag_bits & ENCRYPTED for info in infos):
        raise zipfile.BadZipFile("it is encrypted")
    assert archive.fp is not None
    check_expansion(sum(info.file_size for info in infos), Path(str(archive.filename)).stat().st_size)
    for info in infos:
        if not info.is_dir():
            is_regular = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            yield Member(info.filename, decode_name(info), is_regular)


def decode_name(info: zipfile.ZipInfo) -> str:
    r"""Return a member's name; macOS and others write UTF-8 without saying so, and Windows may write `\`."""
    name = info.filename
    if not info.flag_bits & UTF8_NAME:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name if info.create_system else name.replace("\\", "/")


def read_zip_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes | str:
    """Read a member of at most `max_bytes`, or return the reason why it is not read."""
    info = archive.getinfo(name)
    if info.file_size > max_bytes:
        return larger_than(max_bytes)
    is_limited = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with archive.open(info) as file:
        return file.read() if is_limited else b"".join(iter(lambda: file.read(BLOCK_BYTES), b""))


class LimitedTarInfo(tarfile.TarInfo):
    """A header of a tar whose size is plausible: tarfile reads a long name whole, and jumps back by a negative size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "LimitedTarInfo":
        info = super().frombuf(buf, encoding, errors)
        is_header = info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *tarfile.GNU_TYPES)
        is_sparse = info.type == tarfile.GNUTYPE_SPARSE
        if info.size < 0 or (is_header and not is_sparse and info.size > MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {info.size:,} bytes")
        return info


def open_tar(path: Path) -> tarfile.TarFile:
    return tarfile.open(path, tarinfo=LimitedTarInfo)


def list_tar(archive: tarfile.TarFile) -> Iterator[Member]:
    """List a tar's files, and read it to its end to find damage.

    `tarfile` treats a damaged header as the end of the archive, and gzip's checksum comes last.
    """
    size, end, num_files = Path(str(archive.name)).stat().st_size, -1, 0
    for info in archive:
        if archive.offset <= end:  # an attribute had a negative size
            raise tarfile.ReadError(f"damaged after {num_files} files")
        end = archive.offset
        check_expansion(end, size)
        if not info.isdir():
            num_files += 1
            yield Member(info.name, info.name, info.isfile())
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    while block := archive.fileobj.read(1 << 20):
        check_expansion(end := end + len(block), size)
        if block.count(0) < len(block):
            raise tarfile.ReadError(f"damaged after {num_files} files")


def check_expansion(expanded_bytes: int, size: int) -> None:
    if expanded_bytes > max(MIN_EXPANDED_BYTES, MAX_EXPANSION * size):
        raise zipfile.BadZipFile(
            f"its {size / 1e6:,.1f} MB expand to {expanded_bytes / 1e9:,.0f} GB or more, which no ordinary archive does"
        )
