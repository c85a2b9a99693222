"""Reading of what `leyden sample` wrote."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_pngs(folder: Path, paths: list[str]) -> np.ndarray:
    """Read grey images of one size, (N, H, W)."""
    return np.stack([np.asarray(Image.open(folder / path)) for path in paths])


def pngs_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
