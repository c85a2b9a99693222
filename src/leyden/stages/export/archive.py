"""torch's zip archives, made the same on every run and every machine."""

import re
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

Change = Callable[[str, bytes], tuple[str, bytes] | None]
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can tell


def rewrite(path: Path, change: Change, extra: dict[str, str]) -> None:
    """Write an archive anew with fixed dates: members renamed and changed, or left out where `change` gives None; and further ones.

    Args:
        path: The archive; its members lie below one folder.
        change: Maps a member's name (without that folder) and content to what is to be written.
        extra: Name and text of members to add.
    """
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]
        members = [change(name.removeprefix(f"{root}/"), archive.read(name)) for name in archive.namelist()]
    kept = [member for member in members if member is not None] + [
        (name, text.encode()) for name, text in extra.items()
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in kept:
            archive.writestr(zipfile.ZipInfo(f"model/{name}", EPOCH), content)


def without_local_paths(content: bytes, *others: Path) -> bytes:
    """Blank the paths of this machine out of a binary, keeping its length: each of their bytes becomes a dot."""
    paths = sysconfig.get_paths()
    folders = {
        paths["purelib"],
        paths["platlib"],
        paths["include"],
        str(Path.home()),
        tempfile.gettempdir(),
        str(Path.cwd()),
        *map(str, others),
    }
    names = b"|".join(re.escape(folder.encode()) for folder in sorted(folders - {"/"}, key=len, reverse=True))
    return re.sub(b"(?:" + names + rb")/[^\0]*", lambda found: b"." * len(found[0]), content)
