"""Tables and texts that another stage wrote."""

import csv
from pathlib import Path

from leyden.errors import UserError


def read_rows(path: Path, verb: str) -> list[dict[str, str]]:
    """Read a CSV file that `leyden VERB` makes."""
    with open(expect(path, verb), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_if_there(path: Path) -> list[dict[str, str]]:
    """Read a CSV file that a stage makes only of some models."""
    return read_rows(path, "evaluate") if path.is_file() else []


def read_columns(path: Path, verb: str, names: list[str]) -> list[list[str]]:
    """Read some columns of a CSV file as rows: one with a score per class can be a thousand columns wide."""
    with open(expect(path, verb), newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        places = [header.index(name) for name in names]
        return [[row[place] for place in places] for row in reader]


def expect(path: Path, verb: str) -> Path:
    """Give the path of a file that is there.

    Raises:
        UserError: if it is not; the message names the verb that makes it.
    """
    if not path.is_file():
        raise UserError(f"expected {path}, which is not there; run `leyden {verb}` first (or `make repro`)")
    return path
