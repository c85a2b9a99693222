"""Pictures of predicted masks: each as a PNG file, and the worst beside the true ones."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from leyden.artifacts import OVERLAYS
from leyden.data.packed import read_split
from leyden.imaging.mask_classes import Colour
from leyden.imaging.masks import draw_overlay, write_mask_png
from leyden.outputs.reader import OutputReader
from leyden.stages.evaluate.example_tables import mask_file, rank_errors
from leyden.stages.evaluate.scored_split import ScoredSplit

NUM_OVERLAYS = 24


def draw_masks(reader: OutputReader, test: ScoredSplit, data: Path) -> Mapping[str, Callable[[Path], None]]:
    """Return functions that write the masks of all test examples, and overlays of those with the largest errors."""
    palette = reader.palette
    pictures: dict[str, Callable[[Path], None]] = {
        mask_file(row): partial(write_mask_png, mask=mask.astype(np.uint8), palette=palette)
        for row, mask in enumerate(test.predictions)
    }
    images = read_split(data, "test").images
    for rank, row in enumerate(rank_errors(test.errors)[:NUM_OVERLAYS]):
        masks = (np.asarray(test.targets[row]), test.predictions[row])
        pictures[f"{OVERLAYS}/{rank:02}_{row:06}.png"] = partial(
            write_overlays, image=np.asarray(images[row : row + 1])[0], masks=masks, palette=palette
        )
    return pictures


def write_overlays(path: Path, image: np.ndarray, masks: Sequence[np.ndarray], palette: Sequence[Colour]) -> None:
    """Write an image uint8 (H, W, C) and, to its right, each mask (H, W) drawn over it."""
    image = image if image.shape[2] == 3 else image[..., :1].repeat(3, axis=2)
    panels = [image, *(draw_overlay(image, mask, palette) for mask in masks)]
    Image.fromarray(np.concatenate(panels, axis=1)).save(path)
