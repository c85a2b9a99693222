"""Files that `leyden prepare` did not read, by reason."""

from pathlib import Path
from typing import NamedTuple

from leyden.data.packed import read_report


class LeftOut(NamedTuple):
    """A reason, the number of files, and some of them."""

    reason: str
    num_files: int
    examples: list[str]


def read_left_out(prepare: Path) -> list[LeftOut]:
    rows = read_report(prepare).get("left_out", [])
    return [LeftOut(row["reason"], row["count"], list(row.get("examples", []))) for row in rows]
