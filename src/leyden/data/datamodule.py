"""The packed examples as a LightningDataModule: whole batches, and every random draw a function of (seed, epoch, step)."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from leyden.data.augment import Augment, Draws
from leyden.data.loader import Loader, position
from leyden.data.packed import Split, read_report, read_split
from leyden.data.sampler import BatchSampler, Draw, balancing_weights
from leyden.errors import UserError
from leyden.ops.crop import crop_flip_normalize

Batch = tuple[Tensor, Tensor, int]  # images uint8 (B, C, H, W), or their rows int64 (B,); labels int64 (B,); the seed
Auto = Literal["auto", "yes", "no"]
RESIDENT_FRACTION = 0.4  # of the device's free memory that the training images may take to stay there


class PackedImages(Dataset[Batch]):
    """Gathers a whole batch at a time from the packed arrays, without Python work per example; or gives its rows for later."""

    def __init__(self, split: Split, rows_only: bool) -> None:
        self._split, self._rows_only = split, rows_only

    def __getitem__(self, draw: Draw) -> Batch:
        labels = torch.from_numpy(self._split.labels[draw.rows])
        if self._rows_only:
            return torch.from_numpy(draw.rows), labels, draw.seed
        # Rows lie in NHWC order, so the view that torch wants is channels_last already.
        return torch.from_numpy(self._split.images[draw.rows]).permute(0, 3, 1, 2), labels, draw.seed


class ImageData(LightningDataModule):
    """Batches of what `leyden prepare` packed, augmented on the device."""

    def __init__(
        self,
        folder: str = "artifacts/prepare",
        batch_size: int = 64,
        augment: Augment = Augment(),
        sampler: Literal["uniform", "balanced"] = "uniform",
        resident: Auto = "auto",
        fused: Auto = "auto",
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        """Read what is known of the data; the pixels are read by batch.

        Args:
            folder: Where `leyden prepare` wrote.
            batch_size: Examples per step and device.
            augment: What happens to training images.
            sampler: uniform sees every training example once an epoch; balanced draws all classes equally often.
            resident: Keep the training images in the device's memory; auto does so on GPUs that have the room.
            fused: Gather, crop, flip, cut out and normalise in one pass over memory (leyden.ops); auto does so on CPUs, where
                the augmentation is of these alone.
            num_workers: Processes that read ahead; 0 is fastest for data in memory.
            seed: Decides order and augmentation (linked from seed_everything).
        """
        super().__init__()
        report = read_report(Path(folder))
        if "image_size" not in report["input"]:
            raise UserError(f"expected images; {folder} holds sequences; set data to leyden.SequenceData (configs/experiment/sequences.yaml)")
        self.labels: list[str] = report["labels"]
        self.input: dict[str, Any] = report["input"]
        self.class_counts: list[int] = [report["counts"]["train"][label] for label in self.labels]
        self.data_hash: str = report["data_hash"]
        if batch_size < 1:
            raise UserError(f"data.batch_size must be at least 1; got {batch_size}; set it in configs/train.yaml")
        self._folder, self._batch_size, self._num_workers, self._seed = Path(folder), batch_size, num_workers, seed
        self._augment, self._sampler, self._resident, self._fused = augment, sampler, resident, fused
        if fused == "yes" and not augment.fusable:
            raise UserError("data.fused: yes takes crop, flip and cutout alone; set fused: auto, or turn the other augmentation off")
        self._whole: Tensor | None = None  # all training images uint8 (N, H, W, C), where a batch is gathered after the transfer
        self._fuses = False

    @property
    def _ranks(self) -> tuple[int, int]:
        """This process's number, and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader[Batch]:
        split = read_split(self._folder, "train")
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        resident = self._resident == "yes" or (self._resident == "auto" and has_room(device, split.images.nbytes))
        self._fuses = self._augment.fusable and (self._fused == "yes" or (self._fused == "auto" and device.type == "cpu"))
        if resident:
            self._whole = torch.from_numpy(np.array(split.images)).to(device)
        else:
            self._whole = torch.from_numpy(split.images) if self._fuses else None
        weights = balancing_weights(split.labels) if self._sampler == "balanced" else None
        return self._loader(split, self._batch_size, shuffle=True, weights=weights, rows_only=self._whole is not None)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(read_split(self._folder, "val"), 4 * self._batch_size)  # no gradients are kept

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(read_split(self._folder, "test"), 4 * self._batch_size)

    def _loader(
        self, split: Split, batch_size: int, shuffle: bool = False, weights: np.ndarray | None = None, rows_only: bool = False
    ) -> DataLoader[Batch]:
        return Loader(
            PackedImages(split, rows_only),
            batch_size=None,
            sampler=BatchSampler(
                len(split.labels),
                batch_size,
                self._seed,
                shuffle,
                weights,
                *self._ranks,
                first_step=partial(position, self.trainer) if shuffle else int,
            ),
            num_workers=self._num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self._num_workers > 0,
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Give raw uint8 images (B, C, H, W) and labels; of a fused training batch, normalised float images."""
        images, labels, seed = batch
        if not (self.trainer and self.trainer.training):
            return images, labels
        rank, world_size = self._ranks
        height, width = self.input["image_size"]
        draws = self._augment.draw(self._batch_size * world_size, height, width, seed).part(rank, world_size).first(len(labels))
        if self._fuses:
            return self._fuse(images, draws), labels
        if self._whole is not None:
            images = self._whole[images].permute(0, 3, 1, 2)
        return self._augment(images, draws, torch.tensor(self.input["mean"])), labels

    def _fuse(self, rows: Tensor, draws: Draws) -> Tensor:
        """Gather, augment and normalise in one pass, to the type in which the network computes."""
        assert self._whole is not None and self.trainer is not None
        mean, std = torch.tensor(self.input["mean"]), torch.tensor(self.input["std"])
        scale, shift = (value.to(rows.device) for value in (1 / (255 * std), -mean / std))
        size = self.input["image_size"]
        dtype = torch.bfloat16 if str(self.trainer.precision).startswith("bf16") else torch.float32
        crops = [value.to(rows.device) for value in (draws.top, draws.left, draws.flip, draws.hole)]
        return crop_flip_normalize(self._whole, rows, *crops, scale, shift, size, self._augment.padding(*size), dtype)


def has_room(device: torch.device, num_bytes: int) -> bool:
    """Tell whether images fit in a GPU's free memory with room to train; a CPU reads the memory map as fast."""
    return device.type == "cuda" and num_bytes < RESIDENT_FRACTION * torch.cuda.mem_get_info(device)[0]
