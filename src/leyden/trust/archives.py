"""Zip archives that hold models (.ckpt, .pt2, .torchscript, .pth): checked before anything reads them."""

import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

from leyden.errors import UserError

FOLDER = 0x10  # attribute of a member, as MS-DOS has it
MOST_TIMES, ALLOWANCE = 4, 16 << 20  # torch compresses only sources of TorchScript
REMEDY = "copy it again, or make it anew with `leyden fit` or `leyden export`"


def check_archive(path: Path) -> None:
    """Compare each member with its CRC-32, which torch writes and does not check, and refuse what two readers could read differently.

    Raises:
        UserError: if the file is no zip archive, is damaged, or has a member that is a folder, inflates to far more than the file holds,
            or has an absolute, upward or repeated name.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            too_large = sum(info.file_size for info in members) > MOST_TIMES * path.stat().st_size + ALLOWANCE
            damaged = "all of it" if too_large else archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"expected a whole model file; {path} cannot be read ({error}): it is damaged or of another kind; {REMEDY}"
        ) from error
    if damaged is None:
        # torch reads nothing from a folder, and leaves the memory for its tensor as it was.
        damaged = next((info.filename for info in members if info.is_dir() or info.external_attr & FOLDER), None)
    if damaged is not None:
        raise UserError(
            f"expected a whole model file; {path} is damaged: the checksum or the size of {damaged} is wrong; {REMEDY}"
        )
    names = [info.orig_filename for info in members]
    if wrong := [name for name in names if leaves_folder(name)] or repeated(names):
        raise UserError(f"refused {path}: its member {wrong[0]!r} could be written or read elsewhere; {REMEDY}")


def is_whole(path: Path) -> bool:
    """Return whether an archive is undamaged."""
    try:
        check_archive(path)
    except UserError:
        return False
    return True


def leaves_folder(name: str) -> bool:
    """Return whether a member of this name could be extracted outside the folder that an archive is extracted to."""
    return ".." in PurePosixPath(name).parts or name.startswith("/") or any(sign in name for sign in "\\:\0")


def repeated(names: list[str]) -> list[str]:
    """Return names that occur twice, whatever their case: two readers of one archive could each see another member."""
    counts = Counter(name.casefold() for name in names)
    return [name for name in names if counts[name.casefold()] > 1]
