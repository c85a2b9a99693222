"""Draw images and maps as PNGs that are large enough to see."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SHOWN_SIDE_PX = 160
BAR_PX, LABEL_PX = 12, 44  # the strip of colours right of a map, and the words beside it


def draw_image(path: Path, image: np.ndarray) -> None:
    """Draw an image uint8 (H, W, C)."""
    Image.fromarray(enlarge(image.squeeze())).save(path)


def draw_map(path: Path, image: np.ndarray, values: np.ndarray, signed: bool = True) -> None:
    """Draw a map (H, W) over its image, and what its colours mean beside it: red speaks for the class, blue against.

    A map of zeros leaves the image grey. One that is not signed tells much (red) from nothing.
    """
    grey = image.mean(axis=2) / 255
    limit = np.quantile(np.abs(values), 0.99) or np.abs(values).max() or 1.0
    strength = np.clip(values / limit, -1, 1)
    opacity = np.abs(strength)[..., None] ** 0.5
    blended = grey[..., None] * 0.6 * (1 - opacity) + colours(strength) * opacity
    pixels = enlarge(to_bytes(blended))
    Image.fromarray(np.concatenate([pixels, colour_bar(len(pixels), signed)], axis=1)).save(path)


def colour_bar(height: int, signed: bool) -> np.ndarray:
    """Draw the strip and its words: uint8 (height, width, 3)."""
    strip = Image.new("RGB", (6 + BAR_PX + LABEL_PX, height), "white")
    steps = colours(np.linspace(1, -1 if signed else 0, height))
    strip.paste(Image.fromarray(to_bytes(steps[:, None].repeat(BAR_PX, axis=1))), (6, 0))
    words = {"for": "lt", "0": "lm", "against": "lb"} if signed else {"much": "lt", "none": "lb"}
    for number, (word, anchor) in enumerate(words.items()):
        ImageDraw.Draw(strip).text(
            (9 + BAR_PX, (height - 1) * number / (len(words) - 1)), word, "black", ImageFont.load_default(11), anchor
        )
    return np.asarray(strip)


def colours(strength: np.ndarray) -> np.ndarray:
    """Blue for -1, white for 0, red for 1: floats (..., 3)."""
    from matplotlib import colormaps

    return np.asarray(colormaps["bwr"](strength / 2 + 0.5)[..., :3])


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    return (pixels * 255).round().astype(np.uint8)


def enlarge(pixels: np.ndarray) -> np.ndarray:
    factor = max(1, round(SHOWN_SIDE_PX / max(pixels.shape[:2])))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
