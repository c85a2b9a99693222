"""Tiny data sets, one for each task: 36 images of 8x8, or as many short sequences."""

from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 36
# The columns of the manifest for each task, from numbers that the examples show: brightness 0 to 8.
TARGETS = {
    "classification": lambda level: {"label": "dark" if level < 4 else "bright"},
    "multilabel": lambda level: {"labels": ";".join(["bright"] * (level > 3) + ["odd"] * (level % 2))},
    "regression": lambda level: {"target_level": str(level), "target_square": str(level**2)},
    "segmentation": lambda level: {"mask": f"masks/{level}.png"},
    "ordinal": lambda level: {"grade": str(level // 3)},
}


def write_data(folder: Path, task: str, suffix: str = ".png") -> None:
    """Write images, or sequences for the suffix .npy, and the manifest of a task."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    if task == "segmentation":
        write_masks(folder / "masks")
    rows = []
    for number in range(COUNT):
        level = number % 9
        pixels = (20 * level + generator.integers(0, 60, (8, 8))).astype(np.uint8)
        name = f"{number}{suffix}"
        if suffix == ".png":
            Image.fromarray(pixels).save(folder / name)
        else:
            np.save(folder / name, pixels[: 4 + number % 5, :2].astype(np.float32))
        rows.append({"path": name, **TARGETS[task](level)})
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def write_masks(folder: Path) -> None:
    """Write a mask for each level, in which as many rows are of class 1; the corner is ignored."""
    folder.mkdir()
    for level in range(9):
        mask = np.zeros((8, 8), np.uint8)
        mask[:level], mask[-1, -1] = 1, 255
        Image.fromarray(mask).save(folder / f"{level}.png")
