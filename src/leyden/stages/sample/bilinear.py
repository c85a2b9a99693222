"""Bilinear interpolation in integers, which rounds the same on every machine."""

import numpy as np

ONE = 256  # a pixel, in units of the coordinates


def bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Read an image between its pixels; it is 0 outside.

    Args:
        image: uint8 (H, W)
        rows: int64, of any shape that broadcasts with `columns`, in 1/256 pixel; 0 is the centre of the first row.
        columns: int64, likewise.

    Returns:
        uint8, of the shape of the coordinates.
    """
    padded = np.pad(image.astype(np.int64), 1)
    rows = np.clip(rows + ONE, 0, (image.shape[0] + 1) * ONE - 1)
    columns = np.clip(columns + ONE, 0, (image.shape[1] + 1) * ONE - 1)
    (top, low), (left, right) = np.divmod(rows, ONE), np.divmod(columns, ONE)
    upper = padded[top, left] * (ONE - right) + padded[top, left + 1] * right
    lower = padded[top + 1, left] * (ONE - right) + padded[top + 1, left + 1] * right
    return ((upper * (ONE - low) + lower * low + ONE * ONE // 2) // (ONE * ONE)).astype(np.uint8)
