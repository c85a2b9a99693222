"""Smaller images in the first epochs: most of what a network learns early is seen in a part of the image, for a part of the time."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn


class GrowingImages(Callback):
    """Trains the first epochs on crops, one window for a batch, for a network that takes images of any size.

    Source: the progressive resizing of Howard et al. in Coleman et al., "DAWNBench", 2018; crops keep the size of what is seen.
    """

    def __init__(self, side_px: int = 24, epochs: int = 4) -> None:
        """Choose the crops.

        Args:
            side_px: Height and width of a crop in pixels.
            epochs: How many epochs, from the first, see crops.
        """
        self._side, self._epochs = side_px, epochs
        self._crops = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        network: Any = pl_module.model.network  # type: ignore[union-attr]
        self._hook = network.register_forward_pre_hook(self._crop)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._crops = trainer.current_epoch < self._epochs

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hook.remove()

    def _crop(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        images = inputs[0]
        if not (self._crops and network.training):
            return inputs
        top, left = (int(torch.randint(max(1, side - self._side + 1), ())) for side in images.shape[2:])
        return (images[:, :, top : top + self._side, left : left + self._side], *inputs[1:])
