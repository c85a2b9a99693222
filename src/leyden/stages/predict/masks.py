"""Predicted masks as PNG files, each in the size of its image's file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leyden.imaging.masks import resize_mask, write_mask_png
from leyden.outputs.reader import OutputReader
from leyden.stages.predict.inputs import InputFile


def name_masks(files: Sequence[InputFile]) -> dict[InputFile, str]:
    """Choose a different name for each file's mask, with `/` between folders: that of the file, in the same folders."""
    names: dict[InputFile, str] = {}
    taken: set[str] = set()
    for file in files:
        candidates = [file.name.with_suffix(".png"), Path(f"{file.name}.png")]
        number = 2
        while (name := candidates.pop(0).as_posix()).lower() in taken:
            candidates.append(Path(f"{file.name}.{number}.png"))
            number += 1
        taken.add(name.lower())
        names[file] = name
    return names


def write_mask(path: Path, mask: np.ndarray, size: tuple[int, int], reader: OutputReader) -> None:
    """Write a mask uint8 (H, W), resized to the nearest pixel's class, with the palette of the classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask_png(path, resize_mask(mask.astype(np.uint8), size), reader.palette)
