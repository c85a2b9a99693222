"""Decoded pixels that wait on disk until the common size is known, so that small images are read and decoded once."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class CacheEntry(NamedTuple):
    """Where bytes (H, W, C) lie in the spool."""

    offset: int
    shape: tuple[int, int, int]


class PixelCache:
    """Keeps pixels in a nameless file, which vanishes with the process."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        self._size = 0

    def put(self, pixels: bytes, shape: tuple[int, int, int]) -> CacheEntry:
        place = CacheEntry(self._size, shape)
        self._file.write(pixels)
        self._size += len(pixels)
        return place

    def get(self, place: CacheEntry) -> np.ndarray:
        """Read pixels back; in the order of `put` this reads the file from front to back."""
        height, width, channels = place.shape
        if self._file.tell() != place.offset:
            self._file.seek(place.offset)
        return np.frombuffer(self._file.read(height * width * channels), np.uint8).reshape(place.shape)

    def close(self) -> None:
        self._file.close()


def as_image(pixels: np.ndarray) -> Image.Image:
    """View pixels (H, W, C) as an image of mode L or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
