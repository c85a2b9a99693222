"""The groups of examples, such as patients or scenes, which are not independent of each other."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from leyden.data.packed import MANIFEST
from leyden.files.tables import read_columns


def read_groups(folder: Path, split: str) -> np.ndarray | None:
    """Return the group of each row of a split, int64 (N,); None if no two are of one group.

    Raises:
        UserError: if the folder was not prepared.
    """
    rows = read_columns(folder / MANIFEST, "prepare", ["path", "split", "group"])
    return number_groups((path, group) for path, row_split, group in rows if row_split == split)


def number_groups(members: Iterable[tuple[str, str]]) -> np.ndarray | None:
    """Number the groups of examples, given the path and the group of each; None if no two are of one group.

    An example whose group is blank is one of its own.
    """
    numbers: dict[tuple[str, str], int] = {}
    groups = [numbers.setdefault(("", group) if group else (path, ""), len(numbers)) for path, group in members]
    return np.array(groups, np.int64) if len(numbers) < len(groups) else None
