"""The groups of the test examples that two models are compared on."""

from pathlib import Path

import numpy as np

from leyden.data.groups import read_groups
from leyden.errors import UserError


def read_test_groups(data: Path, is_compared: np.ndarray | None = None) -> np.ndarray | None:
    """Return the groups of the test examples that are compared, bool (N,), all by default; None if there are none.

    Raises:
        UserError: if all are of one group, so that no change can be told from noise.
    """
    groups = read_groups(data, "test")
    if groups is None:
        return None
    groups = groups if is_compared is None else groups[is_compared]
    if len(np.unique(groups)) < 2:
        raise UserError(
            f"expected test examples of two groups or more, which are compared as a whole; all {len(groups)} of {data} "
            "are of one; prepare more groups"
        )
    return groups
