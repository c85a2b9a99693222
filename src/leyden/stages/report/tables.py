"""Tables that a stage writes only for some models."""

from pathlib import Path

from leyden.files.tables import read_table


def read_optional_table(path: Path, verb: str) -> list[dict[str, str]]:
    """Read a table that `leyden VERB` writes only for some models; return no rows if it does not exist."""
    return read_table(path, verb) if path.is_file() else []
