"""The packed examples as a LightningDataModule: whole batches, and every random draw a function of (seed, epoch, step)."""

import ctypes
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from leyden.data.augment import Augment, AugmentParams, Margin, zoom_boxes
from leyden.data.fused import FusedImages
from leyden.data.jpeg import JpegImages
from leyden.data.loader import Loader, position
from leyden.data.packed import Images, open_images, read_report, read_split
from leyden.data.replica import rank_and_world_size
from leyden.data.sampler import BatchIndex, BatchSampler, balancing_weights
from leyden.errors import UserError

Batch = tuple[Tensor, Tensor, int]  # images uint8 (B, C, H, W), or their rows int64 (B,); labels int64 (B,); the seed
Auto = Literal["auto", "yes", "no"]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
RESIDENT_FRACTION = 0.4  # of the device's free memory that the training images may take to stay there


class PackedImages(Dataset[Batch]):
    """Gathers a whole batch at a time from the packed arrays, without Python work per example; or gives its rows for later."""

    def __init__(self, images: Images, labels: np.ndarray, rows_only: bool = False) -> None:
        self._images, self._labels, self._rows_only = images, labels, rows_only

    def __getitem__(self, draw: BatchIndex) -> Batch:
        labels = torch.from_numpy(self._labels[draw.rows])
        if self._rows_only:
            return torch.from_numpy(draw.rows), labels, draw.seed
        # Rows lie in NHWC order, so the view that torch wants is channels_last already.
        return torch.from_numpy(self._images[draw.rows]).permute(0, 3, 1, 2), labels, draw.seed


class ResizedCropJpegs(Dataset[Batch]):
    """Decodes a batch, and resizes each example's crop from the pixels of its file: stored ones would have lost the detail."""

    def __init__(self, images: JpegImages, labels: np.ndarray, size: tuple[int, int], draw_batch: "DrawBatch") -> None:
        self._images, self._labels, self._size, self._draw_batch = images, labels, size, draw_batch

    def __getitem__(self, draw: BatchIndex) -> Batch:
        zoom = self._draw_batch(len(draw.rows), draw.seed).zoom
        images = self._images.read(
            draw.rows, self._size, lambda number, *size: zoom_boxes(zoom[number : number + 1], *size)[0].tolist()
        )
        return images, torch.from_numpy(self._labels[draw.rows]), draw.seed


class DrawBatch(NamedTuple):
    """Draws for this process's share of a global batch: called where images are decoded and where they are augmented, to the same end."""

    augment: Augment
    batch_size: int
    size: tuple[int, int]
    margin: Margin
    rank: int
    world_size: int

    def __call__(self, count: int, seed: int) -> AugmentParams:
        draws = self.augment.draw(self.batch_size * self.world_size, *self.size, seed, self.margin)
        return draws.part(self.rank, self.world_size).first(count)


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
            resident: Keep the training images in the device's memory; auto does so for pixels on GPUs that have the room.
            fused: Gather, crop or resize crops, flip, cut out and normalise in one pass over memory (leyden.ops); auto does so on
                CPUs, where the augmentation is of these alone.
            num_workers: Processes that read ahead; 0 is fastest for data in memory. JPEG files' bytes are decoded in as many
                threads as torch uses; on a GPU, processes that do so ahead keep it busy.
            seed: Decides order and augmentation (linked from seed_everything).
        """
        super().__init__()
        report = read_report(Path(folder))
        if "image_size" not in report["input"]:
            raise UserError(
                f"expected images; {folder} holds sequences; set data to leyden.SequenceData (configs/experiment/sequences.yaml)"
            )
        self.labels: list[str] = report["labels"]
        self.input: dict[str, Any] = report["input"]
        self._size: tuple[int, int] = tuple(self.input["image_size"])
        self._stored_size: tuple[int, int] = tuple(report.get("stored_size", self._size))
        self.class_counts: list[int] = [report["counts"]["train"][label] for label in self.labels]
        self.data_hash: str = report["data_hash"]
        if batch_size < 1:
            raise UserError(f"data.batch_size must be at least 1; got {batch_size}; set it in configs/train.yaml")
        self._folder, self._batch_size, self._num_workers, self._seed = Path(folder), batch_size, num_workers, seed
        self._augment, self._sampler, self._resident, self._fused = augment, sampler, resident, fused
        if fused == "yes" and not augment.fusable:
            raise UserError(
                "data.fused: yes takes crop, resized crop, flip and cutout alone; set fused: auto, or turn the other augmentation off"
            )
        self._whole: Tensor | None = (
            None  # all training images uint8 (N, H, W, C), where a batch is gathered after the transfer
        )
        self._fuses = False
        self._crops_while_decoding = False  # whether resized crops are taken while images are decoded

    @property
    def _margin(self) -> Margin:
        return self._stored_size[0] - self._size[0], self._stored_size[1] - self._size[1]

    @property
    def _draw_batch(self) -> DrawBatch:
        return DrawBatch(self._augment, self._batch_size, self._size, self._margin, *rank_and_world_size(self.trainer))

    def train_dataloader(self) -> DataLoader[Batch]:
        images = open_images(self._folder, "train", self._stored_size, self.input["channels"])
        labels = np.load(self._folder / "train.labels.npy")
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self._fuses = self._augment.fusable and (
            self._fused == "yes" or (self._fused == "auto" and device.type == "cpu")
        )
        if device.type == "cpu":
            keep_freed_memory()
        is_pixels = isinstance(images, np.ndarray)
        if self._resident == "yes" or (self._resident == "auto" and is_pixels and has_room(device, images.nbytes)):
            self._whole = torch.from_numpy(np.array(images[:])).to(device)
        else:
            self._whole = torch.from_numpy(images) if self._fuses and is_pixels else None
        weights = balancing_weights(labels) if self._sampler == "balanced" else None
        dataset: Dataset[Batch] = PackedImages(images, labels, rows_only=self._whole is not None)
        self._crops_while_decoding = self._whole is None and self._augment.resized_crop is not None and not is_pixels
        if self._crops_while_decoding:
            assert isinstance(images, JpegImages)
            dataset = ResizedCropJpegs(images, labels, self._size, self._draw_batch)
        return self._loader(dataset, len(labels), self._batch_size, shuffle=True, weights=weights)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._scoring_loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._scoring_loader("test")

    def _scoring_loader(self, name: str) -> DataLoader[Batch]:
        split = read_split(self._folder, name)
        return self._loader(PackedImages(*split), len(split.labels), 4 * self._batch_size)  # no gradients are kept

    def _loader(
        self,
        dataset: Dataset[Batch],
        count: int,
        batch_size: int,
        shuffle: bool = False,
        weights: np.ndarray | None = None,
    ) -> DataLoader[Batch]:
        return Loader(
            dataset,
            batch_size=None,
            sampler=BatchSampler(
                count,
                batch_size,
                self._seed,
                shuffle,
                weights,
                *rank_and_world_size(self.trainer),
                first_step=partial(position, self.trainer) if shuffle else int,
            ),
            num_workers=self._num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self._num_workers > 0,
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor | FusedImages, Tensor]:
        """Return images and labels: raw uint8 images (B, C, H, W), or, in training on the fused path, `FusedImages`."""
        images, labels, seed = batch
        if not (self.trainer and self.trainer.training):
            return images, labels
        params = self._draw_batch(len(labels), seed)
        augment, margin = self._augment, self._margin
        if self._crops_while_decoding:
            augment, margin = replace(augment, resized_crop=None, crop_padding_fraction=0), (0, 0)
        if self._fuses:
            if self._whole is not None:
                stored, rows = self._whole, images
            else:
                stored, rows = images.permute(0, 2, 3, 1), torch.arange(len(images), device=images.device)
            return FusedImages(stored, rows, params, augment, self._size, margin), labels
        if self._whole is not None:
            images = self._whole[images].permute(0, 3, 1, 2)
        return augment(images, params, torch.tensor(self.input["mean"]), margin), labels


def has_room(device: torch.device, num_bytes: int) -> bool:
    """Tell whether images fit in a GPU's free memory with room to train; a CPU reads the memory map as fast."""
    return device.type == "cuda" and num_bytes < RESIDENT_FRACTION * torch.cuda.mem_get_info(device)[0]


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of freed batches, which it would give back to the kernel and get zeroed anew for each batch.

    A batch of 64 float32 images of 224x224 is made 2.4 times faster so (resized crops, 2 cores).
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
