"""Images kept as the bytes of JPEG files, decoded when they are asked for: indexed like the packed pixels."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # `leyden prepare` starts without torch
    from torch import Tensor

Box = Sequence[int]  # top, left, height and width in pixels


class JpegImages:
    """Images uint8 (N, H, W, C) that are decoded, resized and cut each time they are indexed.

    In threads, since torchvision decodes without Python's lock. 500x375 to 224x224 on 2 cores: 1,200 images/s, with one thread 630;
    Pillow 990 and 540; torchvision's own decoding of a list uses one thread.
    """

    def __init__(
        self, content: np.ndarray, offsets: np.ndarray, size: Sequence[int], channels: int, window: Box | None = None
    ) -> None:
        """Describe the images.

        Args:
            content: uint8, the files one after the other; may be memory-mapped.
            offsets: int64 (N + 1,), where each begins, and where the last one ends.
            size: Height and width that an image is resized to (bilinear, antialiased; the aspect ratio may change).
            channels: 1 (grey) or 3 (RGB).
            window: What indexing gives of a resized image; null is all of it.
        """
        self._content, self._offsets, self._size = content, offsets, (int(size[0]), int(size[1]))
        self._window = tuple(window or (0, 0, *self._size))
        self.shape = (len(offsets) - 1, *self._window[2:], channels)

    @property
    def nbytes(self) -> int:
        """Bytes that all of them would take when decoded."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Decode one row (H, W, C), or those of a slice or of an array of numbers (B, H, W, C)."""
        numbers = np.arange(len(self))[rows]
        top, left, height, width = self._window
        images = self.read(np.atleast_1d(numbers), self._size)[:, :, top : top + height, left : left + width]
        return images.permute(0, 2, 3, 1).numpy().reshape(*np.shape(numbers), *self.shape[1:])

    def read(
        self, rows: np.ndarray, size: tuple[int, int], find_box: Callable[[int, int, int], Box] | None = None
    ) -> "Tensor":
        """Decode rows, cut a box out of each, and resize it.

        Args:
            rows: int64 (B,).
            size: Height and width that come out.
            find_box: Gives the box, from the example's number in the batch and the height and width of its file; null is the whole image.

        Returns:
            uint8 (B, C, *size), channels_last in memory.
        """
        import torch

        out = np.empty(
            (len(rows), *size, self.shape[3]), np.uint8
        )  # no tensor: inference mode would be this thread's alone

        def fill(number: int) -> None:
            image = self._decode(rows[number])
            top, left, height, width = find_box(number, *image.shape[1:]) if find_box else (0, 0, *image.shape[1:])
            # Torch resizes uint8 fastest in this order; a strided box comes out, more slowly, in the other.
            box = image[None, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
            out[number] = torch.nn.functional.interpolate(box, size, mode="bilinear", antialias=True)[0].permute(
                1, 2, 0
            )

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # one in a process that reads ahead
            list(pool.map(fill, range(len(rows))))
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def _decode(self, row: int) -> "Tensor":
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        content = torch.from_numpy(self._content[self._offsets[row] : self._offsets[row + 1]])
        return decode_jpeg(content, ImageReadMode.GRAY if self.shape[3] == 1 else ImageReadMode.RGB)
