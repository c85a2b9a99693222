"""Classification of sequences: a folder of .npy arrays per digit."""

from pathlib import Path

import numpy as np

from leyden.stages.sample.digits import Digits


def write(digits: Digits, folder: Path) -> str:
    """Write arrays (T, 3) of the pixels that are not blank, as (row, column, value) from top to bottom."""
    for index, (image, label) in enumerate(zip(*digits, strict=True)):
        path = folder / str(label) / f"{index:04d}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.column_stack([*np.nonzero(image), image[image > 0]]).astype(np.float32))
    return f"{len(digits.images):,} sequences in {len(set(digits.labels.tolist()))} classes"
