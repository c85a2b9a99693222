"""Records of the model files that this project has published: those may run code, as may files that the user trusts."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from leyden.errors import UserError
from leyden.files import sha256

# All relative to the current folder: a record beside a downloaded file proves nothing.
RECORDS = Path("artifacts/published")  # one empty file per published file, named by its SHA-256
PROVENANCE = Path("artifacts/train/provenance.json")
EXPORT_REPORT = Path("artifacts/export/report.json")


def record_published(hashes: Iterable[str]) -> None:
    """Record the SHA-256 of model files before they are published.

    The reports of `fit` and `export` hold these hashes too, and come with `dvc pull`. The records add files that later
    runs replaced and files published to other folders. They are optional: if they cannot be written, they are skipped.
    """
    with suppress(OSError):
        RECORDS.mkdir(parents=True, exist_ok=True)
        for digest in hashes:
            (RECORDS / digest).touch()


def is_published(path: Path) -> bool:
    digest = sha256(path)
    rows = [*read_rows(PROVENANCE), *read_rows(EXPORT_REPORT)]
    return (RECORDS / digest).is_file() or any(digest in (row.get("model_sha256"), row.get("sha256")) for row in rows)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a JSON report, one or a list of them; none if it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [row for row in (content if isinstance(content, list) else [content]) if isinstance(row, dict)]


def is_trusted(path: Path, trust: bool) -> bool:
    """Return whether the user trusts a file, or this project has published it."""
    return trust or is_published(path)


def require_trust(path: Path, trust: bool, part: str) -> None:
    """Refuse a file that would run code, unless it is trusted; `part` is what in the file is code.

    Raises:
        UserError: if the user does not trust it and this project has not published it.
    """
    if not is_trusted(path, trust):
        raise UserError(
            f"expected data, or a file that this project has published; {path} holds {part}, which is code; "
            "add --trust (trust=True in Python) if you trust its source"
        )
