"""Images stored as JPEG files and decoded when they are indexed, like an array of pixels."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # `leyden prepare` starts without torch
    from torch import Tensor

STDERR = 2  # file descriptor
STDERR_LOCK = threading.Lock()
LIBJPEG_WARNINGS = (
    b"Corrupt JPEG data",
    b"Inconsistent progression sequence",
    b"Invalid Adobe marker",
    b"Invalid SOS parameters",
    b"Premature end of JPEG file",
    b"Unknown Adobe color transform",
    b"Warning: unknown JFIF revision",
)
Box = Sequence[int]  # top, left, height and width in pixels


class JpegImages:
    """Images uint8 (N, H, W, C) that are decoded, resized and cropped each time they are indexed.

    They are decoded in threads, since torchvision releases the GIL. 500x375 to 224x224 on 2 cores: 1,200 images/s, 630
    with one thread; Pillow 990 and 540; torchvision's own decoding of a list uses one thread.
    """

    def __init__(
        self, content: np.ndarray, offsets: np.ndarray, size: Sequence[int], channels: int, window: Box | None = None
    ) -> None:
        """Describe the images.

        Args:
            content: uint8, the concatenated files; may be memory-mapped.
            offsets: int64 (N + 1,), start of each file, and the end of the last one.
            size: Height and width that images are resized to (bilinear, antialiased; the aspect ratio may change).
            channels: 1 (grey) or 3 (RGB).
            window: The part of a resized image that indexing returns; None is all of it.
        """
        self._content, self._offsets, self._size = content, offsets, (int(size[0]), int(size[1]))
        self._window = tuple(window or (0, 0, *self._size))
        self.shape = (len(offsets) - 1, *self._window[2:], channels)

    @property
    def nbytes(self) -> int:
        """Size of all images when decoded, in bytes."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Decode one row (H, W, C), or the rows of a slice, mask or array of indices (B, H, W, C)."""
        indices = np.arange(len(self))[rows]
        top, left, height, width = self._window
        images = self.read(np.atleast_1d(indices), self._size)[:, :, top : top + height, left : left + width]
        return images.permute(0, 2, 3, 1).numpy().reshape(*np.shape(indices), *self.shape[1:])

    def read(
        self, rows: np.ndarray, size: tuple[int, int], find_box: Callable[[int, int, int], Box] | None = None
    ) -> "Tensor":
        """Decode rows, crop a box from each, and resize it.

        Args:
            rows: int64 (B,).
            size: Height and width of the result.
            find_box: Returns the box for an example's index in the batch and its file's height and width; None is the
                whole image.

        Returns:
            uint8 (B, C, *size), channels_last in memory.
        """
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        mode = ImageReadMode.GRAY if self.shape[3] == 1 else ImageReadMode.RGB
        # A numpy array: a tensor made in inference mode cannot be written by the pool's threads, which are not in it.
        out = np.empty((len(rows), *size, self.shape[3]), np.uint8)

        def fill(index: int) -> None:
            content = self._content[self._offsets[rows[index]] : self._offsets[rows[index] + 1]]
            image = decode_jpeg(torch.from_numpy(content), mode)
            top, left, height, width = find_box(index, *image.shape[1:]) if find_box else (0, 0, *image.shape[1:])
            # Torch resizes uint8 fastest in channels_last order.
            box = image[None, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
            resized = torch.nn.functional.interpolate(box, size, mode="bilinear", antialias=True)[0]
            out[index] = resized.permute(1, 2, 0)

        # In a worker process, torch has a single thread.
        with without_libjpeg_warnings(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(fill, range(len(rows))))
        return torch.from_numpy(out).permute(0, 3, 1, 2)


@contextmanager
def without_libjpeg_warnings() -> Iterator[None]:
    """Leave out the lines that libjpeg writes to stderr for slightly damaged files, without their names.

    Pillow, which `leyden prepare` validates files with, silences them; torchvision does not, and has no switch. What
    others write to stderr meanwhile follows afterwards.
    """
    with STDERR_LOCK, tempfile.TemporaryFile() as redirected:
        original = os.dup(STDERR)
        os.dup2(redirected.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(original, STDERR)
            os.close(original)
            redirected.seek(0)
            for line in redirected:
                if not line.startswith(LIBJPEG_WARNINGS):
                    os.write(STDERR, line)
