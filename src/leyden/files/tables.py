"""CSV files, UTF-8 with a header line."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from leyden.errors import UserError


def write_table(path: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """Write rows by column name; values of other columns are left out, missing ones are blank."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path, verb: str) -> list[dict[str, str]]:
    """Read a table that `leyden VERB` writes, one dict per row.

    Raises:
        UserError: if it does not exist; the message names the verb.
    """
    with open(require_file(path, verb), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_columns(path: Path, verb: str, names: Sequence[str]) -> list[list[str]]:
    """Read some columns of a table, in the order of `names`: with a score per class, a table can have 1,000 columns.

    Raises:
        UserError: if it does not exist; the message names the verb.
    """
    with open(require_file(path, verb), newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        indices = [header.index(name) for name in names]
        return [[row[index] for index in indices] for row in reader]


def require_file(path: Path, verb: str) -> Path:
    """Return the path of a file that `leyden VERB` writes.

    Raises:
        UserError: if it does not exist; the message names the verb.
    """
    if not Path(path).is_file():
        raise UserError(f"expected {path}; not found; run `leyden {verb}` first (or `make repro`)")
    return path
