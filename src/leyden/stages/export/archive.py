"""Make torch's zip archives reproducible: the same bytes on every run and every machine."""

import re
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

Transform = Callable[[str, bytes], tuple[str, bytes] | None]
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can store


def rewrite_archive(path: Path, transform: Transform, extra: dict[str, str] | None = None) -> None:
    """Write an archive again with fixed dates, its members transformed, and others added.

    Args:
        path: The archive; its members are in one folder.
        transform: Maps a member's name (without that folder) and content to what is written, or to None to remove it.
        extra: Name and text of members to add.
    """
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]
        members = [transform(name.removeprefix(f"{root}/"), archive.read(name)) for name in archive.namelist()]
    members += [(name, text.encode()) for name, text in (extra or {}).items()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in filter(None, members):
            archive.writestr(zipfile.ZipInfo(f"model/{name}", EPOCH), content)


def blank_local_paths(content: bytes, *others: Path) -> bytes:
    """Replace the paths of this machine in a binary, keeping its length: each of their bytes becomes a dot."""
    installed = {sysconfig.get_path(name) for name in ("purelib", "platlib", "include")}
    folders = installed | {tempfile.gettempdir(), *map(str, (Path.home(), Path.cwd(), *others))}
    names = b"|".join(re.escape(folder.encode()) for folder in sorted(folders - {"/"}, key=len, reverse=True))
    return re.sub(b"(?:" + names + rb")/[^\0]*", lambda match: b"." * len(match[0]), content)
