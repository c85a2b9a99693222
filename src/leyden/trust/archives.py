"""Zip archives that hold models (.ckpt, .pt2, .torchscript, .pth): checked before anything reads them."""

import os
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import IO

from leyden.errors import UserError

END_RECORD = struct.Struct("<4s4H2LH")  # the last bytes of an archive without a comment
# The bytes before, in archives that torch writes: the same with larger numbers, and where that begins.
END_RECORD_64 = struct.Struct("<4sQ2H2L4Q4sLQL")
MAX_SHOWN = 80  # characters of a name in messages
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # by torch
DIRECTORY_ATTRIBUTE = 0x10  # MS-DOS attribute of a member that is a folder
# A compressed archive may hold this many times its size: torch compresses only the source code in TorchScript files.
MAX_EXPANSION_RATIO, EXPANSION_ALLOWANCE_BYTES = 4, 16 << 20
REMEDY = "copy the file again, or create it again with `leyden fit` or `leyden export`"


def check_archive(path: Path, content: IO[bytes] | None = None) -> None:
    """Check every CRC-32, which torch writes but does not check, and refuse what two readers could read differently.

    Args:
        path: The file, for messages.
        content: An archive inside the file, if that is to be checked instead of the file.

    Raises:
        UserError: if it is not a zip archive, is empty or damaged, expands to far more than its size, holds bytes
            before the first or after the last member, or has a member that torch cannot decompress, that is a folder,
            or whose name is absolute, leads upwards or occurs twice.
    """
    try:
        with content or open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            size = file.seek(0, os.SEEK_END)
            max_bytes = MAX_EXPANSION_RATIO * size + EXPANSION_ALLOWANCE_BYTES
            is_whole = (
                sum(info.file_size for info in members) <= max_bytes
                and all(info.compress_type in READABLE for info in members)
                and not has_other_content(members, file)
            )
            damaged = archive.testzip() if is_whole else "the whole archive"
    except (zipfile.BadZipFile, struct.error, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"expected an intact model file; {path} cannot be read ({error}): it is damaged or not a model; {REMEDY}"
        ) from error
    if damaged is None:
        # torch reads nothing from a member marked as a folder, and leaves the tensor's memory uninitialised.
        folders = (info.filename for info in members if info.is_dir() or info.external_attr & DIRECTORY_ATTRIBUTE)
        damaged = next(folders, None)
    if damaged is not None:
        raise UserError(
            f"expected an intact model file; {path} is damaged: the checksum or size of {damaged[:MAX_SHOWN]} is "
            f"wrong; {REMEDY}"
        )
    names = [info.orig_filename for info in members]
    counts = Counter(map(str.casefold, names))  # ignoring case: two readers could each pick a different member
    if unsafe := [name for name in names if leaves_folder(name) or counts[name.casefold()] > 1]:
        raise UserError(
            f"expected members with unique names inside the archive's folder; refused {path}: its member "
            f"{unsafe[0][:MAX_SHOWN]!r} could be written or read elsewhere; {REMEDY}"
        )


def has_other_content(members: list[zipfile.ZipInfo], file: IO[bytes]) -> bool:
    """Return whether bytes precede the first member, or a comment, other bytes or another directory follow the last.

    Another reader could find a different archive there.
    """
    end = file.seek(-END_RECORD.size, os.SEEK_END)
    signature, _, _, _, count, size, offset, comment_length = END_RECORD.unpack(file.read(END_RECORD.size))
    if signature != b"PK\5\6" or comment_length:
        return True
    if end >= END_RECORD_64.size:
        start = file.seek(end - END_RECORD_64.size)
        record = END_RECORD_64.unpack(file.read(END_RECORD_64.size))
        if record[10] == b"PK\6\7":
            if record[0] != b"PK\6\6" or record[12] != start:
                return True
            end, count, size, offset = start, *record[7:10]
    first = min((info.header_offset for info in members), default=None)
    return first != 0 or count != len(members) or offset + size != end


def is_intact(path: Path) -> bool:
    try:
        check_archive(path)
    except UserError:
        return False
    return True


def leaves_folder(name: str) -> bool:
    """Return whether a member of this name could be extracted outside the target folder."""
    return ".." in PurePosixPath(name).parts or name.startswith("/") or any(sign in name for sign in "\\:\0")
