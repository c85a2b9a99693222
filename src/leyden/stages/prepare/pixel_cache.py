"""Decoded pixels on disk until the common image size is known, so that small images are read and decoded once."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class CacheEntry(NamedTuple):
    """Position of bytes (H, W, C) in the cache."""

    offset: int
    shape: tuple[int, int, int]


class PixelCache:
    """Keeps pixels in an unnamed temporary file, which is removed when the process ends."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        self._size = 0

    def put(self, pixels: bytes, shape: tuple[int, int, int]) -> CacheEntry:
        entry = CacheEntry(self._size, shape)
        self._file.write(pixels)
        self._size += len(pixels)
        return entry

    def get(self, entry: CacheEntry) -> np.ndarray:
        """Read pixels back; in the order of `put` this reads the file from start to end."""
        height, width, channels = entry.shape
        if self._file.tell() != entry.offset:
            self._file.seek(entry.offset)
        return np.frombuffer(self._file.read(height * width * channels), np.uint8).reshape(entry.shape)

    def close(self) -> None:
        self._file.close()


def as_image(pixels: np.ndarray) -> Image.Image:
    """View pixels (H, W, C) as an image of mode L or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
