"""Batches of training images that are gathered, augmented and normalised in one pass over memory."""

import torch
from torch import Tensor

from leyden.data.augment import Augment, AugmentParams, Margin, pixel_boxes
from leyden.ops.crop import crop_flip_normalize
from leyden.ops.resample import resample_normalize


class FusedImages:
    """A batch of images that is gathered, augmented and normalised when the training step calls `normalize`.

    Normalisation constants belong to the model, which passes them to `normalize`; data modules never normalise.
    """

    def __init__(
        self,
        stored: Tensor,
        rows: Tensor,
        params: AugmentParams,
        augment: Augment,
        size: tuple[int, int],
        margin: Margin,
    ) -> None:
        """Describe the batch.

        Args:
            stored: Images uint8 (N, H, W, C) as they are stored: the whole split, or the batch alone.
            rows: Rows of `stored` that make the batch, int64 (B,).
            params: Random augmentation parameters of each example.
            augment: The augmentation that the parameters are for; it must be fusable.
            size: Height and width of the images in pixels, as the model takes them.
            margin: Rows and columns by which stored images are larger.
        """
        self._stored, self._rows, self._augment = stored, rows, augment
        self._params = params.to(rows.device)
        self._size, self._margin = size, margin
        self._normalized: Tensor | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def normalize(self, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
        """Return augmented images scale * pixel + shift, (B, C, H, W); later calls return the result of the first one.

        Args:
            scale: Factor of each channel for pixels from 0 to 255, float32 (C,).
            shift: Offset of each channel, float32 (C,).
            dtype: float32 or bfloat16.
        """
        if self._normalized is not None:
            return self._normalized
        scale, shift = scale.to(self._rows.device), shift.to(self._rows.device)
        params, size, margin = self._params, self._size, self._margin
        common = params.flip, params.cutout_box, scale, shift, size
        if self._augment.resized_crop:
            boxes = pixel_boxes(params.relative_box, size[0] + margin[0], size[1] + margin[1])
            self._normalized = resample_normalize(self._stored, self._rows, boxes, *common, dtype)
        else:
            corners, padding = (params.top, params.left), self._augment.padding(*size, margin)
            self._normalized = crop_flip_normalize(self._stored, self._rows, *corners, *common, padding, dtype)
        return self._normalized
