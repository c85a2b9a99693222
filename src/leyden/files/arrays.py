"""Reading of the .npy files that `leyden prepare` writes."""

from pathlib import Path
from typing import Literal

import numpy as np

from leyden.errors import UserError, one_line
from leyden.files.tables import require_file


def load_array(path: Path, num_dimensions: int | None, mmap_mode: Literal["r", "c"] | None = None) -> np.ndarray:
    """Load an array, or map it into memory.

    Raises:
        UserError: if it does not exist, is damaged, or has another number of dimensions; None accepts any.
    """
    try:
        array = np.load(require_file(path, "prepare"), mmap_mode=mmap_mode, allow_pickle=False)
        if num_dimensions is not None and array.ndim != num_dimensions:
            raise ValueError(f"{array.ndim} dimensions")
    except (ValueError, EOFError) as error:
        raise UserError(
            f"expected an array of {num_dimensions} dimensions in {path}; it is damaged ({one_line(error)}); run "
            "`leyden prepare` again"
        ) from error
    return array


def load_targets(folder: Path, split: str, count: int) -> np.ndarray:
    """Load the targets (N, ...) of a split; those with a value per pixel are mapped into memory.

    Raises:
        UserError: if they do not exist, are damaged, or are not `count`.
    """
    targets = load_array(path := folder / f"{split}.targets.npy", None, "c")
    if targets.ndim < 1 or len(targets) != count:
        raise UserError(f"expected {count:,} targets in {path}; got {len(targets):,}; run `leyden prepare` again")
    return targets if targets.ndim > 2 else np.array(targets)
