"""Draw images and maps as PNGs that are large enough to see."""

from pathlib import Path

import numpy as np
from PIL import Image

SHOWN_SIDE_PX = 160


def draw_image(path: Path, image: np.ndarray) -> None:
    """Draw an image uint8 (H, W, C)."""
    Image.fromarray(enlarge(image.squeeze())).save(path)


def draw_map(path: Path, image: np.ndarray, values: np.ndarray) -> None:
    """Draw a map (H, W) over its image: red speaks for the class, blue against; a map of zeros leaves the image grey."""
    from matplotlib import colormaps

    grey = image.mean(axis=2) / 255
    limit = np.quantile(np.abs(values), 0.99) or 1.0
    strength = np.clip(values / limit, -1, 1)
    colours = colormaps["bwr"](strength / 2 + 0.5)[..., :3]
    opacity = np.abs(strength)[..., None] ** 0.5
    blended = grey[..., None] * 0.6 * (1 - opacity) + colours * opacity
    Image.fromarray(enlarge((blended * 255).round().astype(np.uint8))).save(path)


def enlarge(pixels: np.ndarray) -> np.ndarray:
    factor = max(1, round(SHOWN_SIDE_PX / max(pixels.shape[:2])))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
