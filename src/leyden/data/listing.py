"""Listing of folders: every file is either yielded or counted, with the reason why it is left out."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leyden.files.names import printable

HIDDEN = "hidden files"
DOCUMENTATION = "documentation and system files"
QUIET = (HIDDEN, DOCUMENTATION)  # counted, but not printed, since no user looks for them among the examples
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir")  # of macOS's archives, and of network storage with its own small copies
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
DOCUMENTATION_STEMS = ("readme", "license", "licence", "changelog", "citation")
DOCUMENTATION_SUFFIXES = ("", ".txt", ".md", ".rst", ".html", ".pdf")
HINTS = {
    **dict.fromkeys((".heic", ".heif"), "install pillow-heif to read them"),
    **dict.fromkeys((".zip", ".zipx", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz"), "unpack them"),
    **dict.fromkeys((".zst", ".7z", ".rar"), "unpack them"),
}
PLURAL = re.compile(r"\b(archive|file|folder|image|link|member|sequence|table)s\b")
MAX_NAMED = 3
MAX_VISITS = 100  # of a folder: links to a folder with links, and so on, would be followed exponentially often


class LeftOut:
    """Counts what is left out by reason, and keeps the first names of each."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        self._counts[reason] += 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < MAX_NAMED:
            examples.append(printable(name))

    def add_unknown(self, name: str, kind: str) -> None:
        """Count a file whose suffix does not name an image or a sequence that can be read (`kind`)."""
        base = name.rpartition("/")[2].lower()
        suffix = Path(base).suffix
        is_documentation = base.startswith(DOCUMENTATION_STEMS) and suffix in DOCUMENTATION_SUFFIXES
        if base in SYSTEM_FILES or is_documentation:
            self.add(DOCUMENTATION, name)
        else:
            hint = HINTS.get(suffix, f"not {kind}")
            self.add(f"{suffix} files ({hint})" if suffix else "files without suffix", name)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row of `reason`, `count` and up to 3 `examples` for each reason, the most frequent first."""
        return [
            {"reason": reason, "count": count, "examples": self._examples[reason]}
            for reason, count in self._counts.most_common()
        ]

    def __str__(self) -> str:
        """Describe on one line what a user may look for; empty if there is nothing."""
        return "; ".join(
            f"{describe_count(row)}: {', '.join(row['examples'])}{', ...' * (row['count'] > MAX_NAMED)}"
            for row in self.rows()
            if row["reason"] not in QUIET
        )


def describe_count(row: dict[str, Any]) -> str:
    """Return a row's count and its reason, which is in the plural."""
    reason = PLURAL.sub(r"\1", row["reason"], count=1) if row["count"] == 1 else row["reason"]
    return f"{row['count']:,} {reason}"


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a link that leads nowhere is a file without content."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def walk_files(folder: Path, left_out: LeftOut) -> Iterator[os.DirEntry[str]]:
    """Yield everything under a folder that is not a folder in a stable order.

    Hidden files and folders, links to a folder above, and links to nothing that may be folders, are left out.

    Raises:
        OSError: if a folder cannot be read.
    """
    prefix = len(os.path.join(folder, ""))  # noqa: PTH118 - Path.relative_to takes longer than the rest of the walk
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(str(folder), ())]
    visits: Counter[tuple[int, int]] = Counter()
    while waiting:
        path, ancestors = waiting.pop()
        status = os.stat(path)  # noqa: PTH116 - the same style as os.scandir
        current = status.st_dev, status.st_ino
        if current in ancestors:
            left_out.add("links to a folder above", path[prefix:])
            continue
        visits[current] += 1
        if visits[current] > MAX_VISITS:
            left_out.add(f"folders that more than {MAX_VISITS} links lead to", path[prefix:])
            continue
        with os.scandir(path) as scan:  # entries store their type: no further system call per file
            entries = sorted(scan, key=lambda entry: entry.name)
        folders = []
        for entry in entries:
            if is_hidden(entry.name):
                left_out.add(HIDDEN, entry.path[prefix:])
            elif is_folder(entry):
                folders.append((entry.path, (*ancestors, current)))
            elif entry.is_symlink() and "." not in entry.name and not Path(entry.path).exists():
                left_out.add("links to nothing", entry.path[prefix:])
            else:
                yield entry
        waiting += reversed(folders)


def find_files(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """List the files under a folder in a stable order, as `walk_files` does.

    Raises:
        OSError: if a folder cannot be read.
    """
    return [Path(entry.path) for entry in walk_files(folder, left_out or LeftOut())]
