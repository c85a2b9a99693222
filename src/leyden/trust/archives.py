"""Zip archives that hold models (.ckpt, .pt2, .torchscript, .pth): checked before anything reads them."""

import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

from leyden.errors import UserError

DIRECTORY_ATTRIBUTE = 0x10  # MS-DOS attribute of a member that is a folder
# A compressed archive may hold this many times its size: torch compresses only the source code in TorchScript files.
MAX_EXPANSION_RATIO, EXPANSION_ALLOWANCE_BYTES = 4, 16 << 20
REMEDY = "copy the file again, or create it again with `leyden fit` or `leyden export`"


def check_archive(path: Path) -> None:
    """Check every CRC-32, which torch writes but does not check, and refuse what two readers could read differently.

    Raises:
        UserError: if the file is not a zip archive, is damaged, expands to far more than its size, or has a member that
            is a folder or whose name is absolute, leads upwards or occurs twice.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            max_bytes = MAX_EXPANSION_RATIO * path.stat().st_size + EXPANSION_ALLOWANCE_BYTES
            is_too_large = sum(info.file_size for info in members) > max_bytes
            damaged = "the whole archive" if is_too_large else archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"expected an intact model file; {path} cannot be read ({error}): it is damaged or not a model; {REMEDY}"
        ) from error
    if damaged is None:
        # torch reads nothing from a member marked as a folder, and leaves the tensor's memory uninitialised.
        folders = (info.filename for info in members if info.is_dir() or info.external_attr & DIRECTORY_ATTRIBUTE)
        damaged = next(folders, None)
    if damaged is not None:
        raise UserError(
            f"expected an intact model file; {path} is damaged: the checksum or size of {damaged} is wrong; {REMEDY}"
        )
    names = [info.orig_filename for info in members]
    counts = Counter(map(str.casefold, names))  # ignoring case: two readers could each pick a different member
    if unsafe := [name for name in names if leaves_folder(name) or counts[name.casefold()] > 1]:
        raise UserError(
            f"expected members with unique names inside the archive's folder; refused {path}: its member {unsafe[0]!r} "
            f"could be written or read elsewhere; {REMEDY}"
        )


def is_intact(path: Path) -> bool:
    try:
        check_archive(path)
    except UserError:
        return False
    return True


def leaves_folder(name: str) -> bool:
    """Return whether a member of this name could be extracted outside the target folder."""
    return ".." in PurePosixPath(name).parts or name.startswith("/") or any(sign in name for sign in "\\:\0")
