"""Draw examples and their maps as PNGs that are large enough to see."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

MAP_SIDE_PX = 160
BAR_PX, LABEL_PX = 12, 44  # the colour bar right of a map, and the labels beside it


def draw_image(path: Path, image: np.ndarray) -> None:
    """Draw an image uint8 (H, W, C)."""
    Image.fromarray(enlarge(image[..., 0] if image.shape[2] == 1 else image)).save(path)


def draw_map(path: Path, image: np.ndarray, values: np.ndarray, evidence: tuple[str, str] | None) -> None:
    """Draw a map (H, W) over its image, with a colour bar: red where it is positive, blue where it is negative.

    A map of zeros leaves the image grey. `evidence` is what positive and negative values are, for the colour bar; None
    for an unsigned map, whose colour bar runs from none to much (red).
    """
    grey = image.mean(axis=2) / 255
    limit = np.quantile(np.abs(values), 0.99) or np.abs(values).max() or 1.0
    strength = np.clip(values / limit, -1, 1)
    opacity = np.abs(strength)[..., None] ** 0.5
    pixels = enlarge(to_bytes(grey[..., None] * 0.6 * (1 - opacity) + colours(strength) * opacity))
    Image.fromarray(np.concatenate([pixels, colour_bar(len(pixels), evidence)], axis=1)).save(path)


def draw_steps(
    path: Path,
    curves: np.ndarray,
    values: np.ndarray | None,
    labels: tuple[str, str] = ("time step", "standardised"),
) -> None:
    """Draw curves (T, F) over time, on a map (T,) if there is one: red where it is positive, blue where negative."""
    figure = Figure(figsize=(3.2, 2), layout="constrained")
    axes = figure.subplots()
    axes.plot(curves, linewidth=1, marker="." if len(curves) < 2 else "")
    axes.margins(x=0)
    if values is not None:
        strength = values / (np.abs(values).max() or 1)
        extent = (-0.5, len(values) - 0.5, *axes.get_ylim())
        axes.imshow(strength[None], cmap="bwr", vmin=-1, vmax=1, alpha=0.6, extent=extent, aspect="auto", zorder=0)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    figure.savefig(path, dpi=100)


def colour_bar(height: int, evidence: tuple[str, str] | None) -> np.ndarray:
    """Draw a colour bar with its labels: uint8 (height, width, 3)."""
    bar = Image.new("RGB", (6 + BAR_PX + LABEL_PX, height), "white")
    steps = colours(np.linspace(1, -1 if evidence else 0, height))
    bar.paste(Image.fromarray(to_bytes(steps[:, None].repeat(BAR_PX, axis=1))), (6, 0))
    labels = {evidence[0]: "lt", "0": "lm", evidence[1]: "lb"} if evidence else {"much": "lt", "none": "lb"}
    for number, (label, anchor) in enumerate(labels.items()):
        position = 9 + BAR_PX, (height - 1) * number / (len(labels) - 1)
        ImageDraw.Draw(bar).text(position, label, "black", ImageFont.load_default(11), anchor)
    return np.asarray(bar)


def colours(strength: np.ndarray) -> np.ndarray:
    """Map -1 to blue, 0 to white, 1 to red: floats (..., 3)."""
    return np.asarray(colormaps["bwr"](strength / 2 + 0.5)[..., :3])


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    return (pixels * 255).round().astype(np.uint8)


def enlarge(pixels: np.ndarray) -> np.ndarray:
    factor = max(1, round(MAP_SIDE_PX / max(pixels.shape[:2])))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
