"""Contact sheets: a first look at the examples of each label."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from leyden.stages.prepare.pixel_cache import as_image
from leyden.tasks.task import Task

PER_SIDE = 4
MAX_CELL_PX = 64
MIN_CELL_PX = 32  # smaller images are enlarged by an integer factor, so that their pixels stay sharp
DrawRow = Callable[[int], Image.Image]


def write_contact_sheets(
    packed: Path,
    task: Task,
    splits: Iterable[tuple[DrawRow, np.ndarray]],
    gap_px: int = 2,
    background: str = "grey",
) -> None:
    """Write contact/`<label index>.png` with up to 16 examples of each label, those of the first split first.

    Each split is what draws the cell of one of its rows, and its targets; all cells have the same size.
    """
    cells_by_label: list[list[Image.Image]] = [[] for _ in task.labels]
    for draw, targets in splits:
        for index, cells in enumerate(cells_by_label):
            shown = task.rows_with(targets, index)[: PER_SIDE**2 - len(cells)]
            cells += map(draw, shown.tolist())
    (packed / "contact").mkdir()
    for label_index, cells in enumerate(cells_by_label):
        width, height = (side + gap_px for side in cells[0].size)
        columns = min(PER_SIDE, len(cells))
        rows = -(-len(cells) // columns)
        sheet = Image.new("RGB", (columns * width - gap_px, rows * height - gap_px), background)
        for index, cell in enumerate(cells):
            sheet.paste(cell, (index % columns * width, index // columns * height))
        sheet.save(packed / "contact" / f"{label_index}.png", optimize=True)


def draw_cell(pixels: np.ndarray) -> Image.Image:
    """Enlarge or reduce an image (H, W, C) to the size of a cell."""
    image = as_image(pixels)
    longer_side = max(image.size)
    scale, factor = min(1.0, MAX_CELL_PX / longer_side), max(1, MIN_CELL_PX // longer_side)
    width, height = (max(1, round(side * scale)) * factor for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BILINEAR)
