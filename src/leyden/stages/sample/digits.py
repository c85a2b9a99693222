"""The digits that every kind of sample is made of, and the writing of images."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 8  # of a digit, in pixels


class Digits(NamedTuple):
    """Handwritten digits.

    `images` are uint8 (N, 8, 8), 0 to 255, bright ink on black; `labels` are the digits int64 (N,), 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray


def read_digits() -> Digits:
    with np.load(Path(__file__).with_name("digits.npz")) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return Digits(np.round(images.astype(np.float64) * (255 / 16)).astype(np.uint8), labels.astype(np.int64))


def write_png(pixels: np.ndarray, path: Path) -> None:
    """Write a grey image uint8 (H, W), and its folder if there is none."""
    path.parent.mkdir(exist_ok=True)
    # Not compressed: builds of zlib compress differently, which would change the hash in data.dvc.
    Image.fromarray(pixels).save(path, compress_level=0)
