"""The packed images as a LightningDataModule; batches and their augmentation are a function of (seed, epoch, step)."""

import ctypes
from collections.abc import Callable
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

from leyden.data.augment import Augment, AugmentParams, Margin, pixel_boxes, resize_mask_crops
from leyden.data.fused import FusedImages
from leyden.data.jpeg import JpegImages
from leyden.data.loader import check_loader_settings, make_loader, next_batch_index
from leyden.data.packed import Images, check_targets, open_images, read_report, read_split
from leyden.data.replica import rank_and_world_size
from leyden.data.sampler import BatchIndex, BatchSampler
from leyden.errors import UserError
from leyden.files.arrays import load_targets
from leyden.tasks import CLASSIFICATION, load_task

# images uint8 (B, C, H, W), or their row numbers int64 (B,); targets of the task; the seed
Batch = tuple[Tensor, Tensor, int]
Auto = Literal["auto", "yes", "no"]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
RESIDENT_FRACTION = 0.4  # of the device's free memory, which resident training images may take


class ImageBatches(Dataset[Batch]):
    """Reads a whole batch at a time, without Python work per example."""

    def __init__(self, read: Callable[[BatchIndex], Tensor], targets: np.ndarray) -> None:
        self._read, self._targets = read, targets

    def __getitem__(self, index: BatchIndex) -> Batch:
        return self._read(index), torch.from_numpy(np.ascontiguousarray(self._targets[index.rows])), index.seed


def read_images(images: Images, index: BatchIndex) -> Tensor:
    # Rows are stored as NHWC, so the NCHW view that torch wants is channels_last already.
    return torch.from_numpy(images[index.rows]).permute(0, 3, 1, 2)


def row_numbers(index: BatchIndex) -> Tensor:
    """Return row numbers instead of images, which are gathered after the transfer to the device."""
    return torch.from_numpy(index.rows)


class BatchAugment(NamedTuple):
    """Makes augmentation parameters of this process's part of a global batch, the same wherever they are made."""

    augment: Augment
    batch_size: int
    size: tuple[int, int]
    margin: Margin
    rank: int
    world_size: int

    def make_params(self, count: int, seed: int) -> AugmentParams:
        """Return the parameters of `count` examples, fewer than the batch size in a batch that is not full."""
        params = self.augment.make_params(self.batch_size * self.world_size, *self.size, seed, self.margin)
        return params.select(slice(self.rank, None, self.world_size)).select(slice(count))


def read_resized_crops(images: JpegImages, batch_augment: BatchAugment, index: BatchIndex) -> Tensor:
    """Decode and crop the full-size images, which have more detail than images that were resized before."""
    boxes = batch_augment.make_params(len(index.rows), index.seed).relative_box

    def find_box(example: int, height: int, width: int) -> list[int]:
        return pixel_boxes(boxes[example : example + 1], height, width)[0].tolist()

    return images.read(index.rows, batch_augment.size, find_box)


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
        """Read the report of the prepared data; pixels are read batch by batch.

        Args:
            folder: Folder that `leyden prepare` wrote.
            batch_size: Examples per step and device.
            augment: Augmentation of training images.
            sampler: uniform sees every training example once per epoch; balanced draws all classes equally often.
            resident: Keep the training images in the device's memory; auto does so for pixels on GPUs with enough free
                memory.
            fused: Gather, crop (or resize crops), flip, cut out and normalise in one pass over memory (leyden.ops);
                auto does so on CPUs if the augmentation consists of these alone.
            num_workers: Processes that read ahead; 0 is fastest for data in memory. JPEG files are decoded in as many
                threads as torch uses; with a GPU, worker processes that decode ahead keep it busy.
            seed: Decides order and augmentation (linked from seed_everything).

        Raises:
            UserError: if the folder holds no images, or an argument is out of range.
        """
        super().__init__()
        report = read_report(Path(folder))
        if "image_size" not in report["input"]:
            raise UserError(
                f"expected images; {folder} holds sequences; set data to leyden.SequenceData "
                "(configs/experiment/sequences.yaml)"
            )
        self.labels: list[str] = report["labels"]
        self.input: dict[str, Any] = report["input"]
        self._size: tuple[int, int] = tuple(self.input["image_size"])
        self._stored_size: tuple[int, int] = tuple(report.get("stored_size", self._size))
        self.task: dict[str, Any] = report.get("task") or CLASSIFICATION
        self._task = load_task(report)
        self.class_counts: list[int] = [report["counts"]["train"][label] for label in self.labels]
        self.data_hash: str = report["data_hash"]
        check_loader_settings(batch_size, num_workers, seed)
        self._folder, self._batch_size, self._num_workers, self._seed = Path(folder), batch_size, num_workers, seed
        self._augment, self._sampler, self._resident, self._fused = augment, sampler, resident, fused
        if fused == "yes" and not augment.is_fusable:
            raise UserError(
                "expected only crop, resized crop, flip and cutout with data.fused: yes; "
                "got colour_jitter or transforms; set fused: auto, or turn them off"
            )
        augment.check_transforms(self.input["channels"], *self._size, self._task.is_dense)
        # Decided by `train_dataloader`:
        self._train_images: Tensor | None = None  # uint8 (N, H, W, C), if batches are gathered after the transfer
        self._is_fused = False
        self._is_cropped_by_decoder = False

    @property
    def _margin(self) -> Margin:
        return self._stored_size[0] - self._size[0], self._stored_size[1] - self._size[1]

    @property
    def _batch_augment(self) -> BatchAugment:
        rank_and_size = rank_and_world_size(self.trainer)
        return BatchAugment(self._augment, self._batch_size, self._size, self._margin, *rank_and_size)

    def train_dataloader(self) -> DataLoader[Batch]:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type == "cpu":
            keep_freed_memory()
        images = open_images(self._folder, "train", self._stored_size, self.input["channels"])
        targets = load_targets(self._folder, "train", len(images))
        check_targets(targets, self._task, self._stored_size, self._folder)
        is_wanted = self._fused == "yes" or (self._fused == "auto" and device.type == "cpu")
        self._is_fused = is_wanted and self._augment.is_fusable
        self._train_images = self._load_train_images(images, device)
        self._is_cropped_by_decoder = False
        if self._train_images is not None:
            read: Callable[[BatchIndex], Tensor] = row_numbers
        elif isinstance(images, JpegImages) and self._augment.resized_crop:
            self._is_cropped_by_decoder = True
            read = partial(read_resized_crops, images, self._batch_augment)
        else:
            read = partial(read_images, images)
        return self._loader(read, targets, self._batch_size, is_training=True)

    def _load_train_images(self, images: Images, device: torch.device) -> Tensor | None:
        """Return all training images (N, H, W, C), if batches are gathered from them after the transfer; else None."""
        is_pixels = isinstance(images, np.ndarray)
        is_resident = self._resident == "yes"
        if self._resident == "auto" and is_pixels and device.type == "cuda":  # a CPU reads a memory map as fast
            is_resident = images.nbytes < RESIDENT_FRACTION * torch.cuda.mem_get_info(device)[0]
        if is_resident:
            return torch.from_numpy(np.array(images[:])).to(device)
        if self._is_fused and is_pixels:
            return torch.from_numpy(images)  # the memory map: the fused operator gathers from it
        return None

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._scoring_loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._scoring_loader("test")

    def _scoring_loader(self, name: str) -> DataLoader[Batch]:
        images, targets = read_split(self._folder, name)
        return self._loader(partial(read_images, images), targets, 4 * self._batch_size)  # no gradients are kept

    def _loader(
        self, read: Callable[[BatchIndex], Tensor], targets: np.ndarray, batch_size: int, is_training: bool = False
    ) -> DataLoader[Batch]:
        sampler = BatchSampler(
            len(targets),
            batch_size,
            self._seed,
            is_training,
            self._task.sampling_weights(targets) if is_training and self._sampler == "balanced" else None,
            *rank_and_world_size(self.trainer),
            first_step=partial(next_batch_index, self.trainer) if is_training else int,
        )
        return make_loader(ImageBatches(read, targets), sampler, self._num_workers)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor | FusedImages, Tensor]:
        """Return images and targets: raw uint8 images (B, C, H, W), or, in training on the fused path, `FusedImages`.

        Targets with a value per pixel move with their images.
        """
        images, targets, seed = batch
        if not (self.trainer and self.trainer.training):
            return images, targets
        params = self._batch_augment.make_params(len(targets), seed)
        augment, margin = self._augment, self._margin
        if self._is_cropped_by_decoder:
            if self._task.is_dense:
                targets = resize_mask_crops(targets, params.to(targets.device).relative_box, *self._size)
            augment, margin = replace(augment, resized_crop=None, crop_padding_fraction=0), (0, 0)
        if self._is_fused:
            if self._train_images is not None:
                stored, rows = self._train_images, images
            else:
                stored, rows = images.permute(0, 2, 3, 1), torch.arange(len(images), device=images.device)
            targets = augment.apply_to_masks(targets, params, margin) if self._task.is_dense else targets
            return FusedImages(stored, rows, params, augment, self._size, margin), targets
        if self._train_images is not None:
            images = self._train_images[images].permute(0, 3, 1, 2)
        mean = torch.tensor(self.input["mean"])
        if self._task.is_dense:
            return augment.apply_to_pairs(images, targets, params, mean, margin)
        return augment(images, params, mean, margin), targets


def keep_freed_memory() -> None:
    """Make glibc reuse the memory of freed batches.

    By default it returns the memory to the kernel, which zeroes it again for the next batch. A batch of 64 float32
    images of 224x224 is made 2.4 times faster this way (resized crops, 2 cores).
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
