"""The packed examples as a LightningDataModule: whole batches, and every random draw a function of (seed, epoch, step)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from leyden.data.augment import Augment
from leyden.data.packed import Split, read_report, read_split
from leyden.errors import UserError

Batch = tuple[Tensor, Tensor, int]  # images uint8 (B, C, H, W), labels int64 (B,), the seed of the augmentation


class Draw(NamedTuple):
    """What a sampler asks of the dataset: rows, and the seed of their augmentation."""

    rows: np.ndarray
    seed: int


class PackedImages(Dataset[Batch]):
    """Gathers a whole batch at a time from the packed arrays, without Python work per example."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __getitem__(self, draw: Draw) -> Batch:
        # Rows lie in NHWC order, so the view that torch wants is channels_last already.
        images = torch.from_numpy(self._split.images[draw.rows]).permute(0, 3, 1, 2)
        return images, torch.from_numpy(self._split.labels[draw.rows]), draw.seed


class BatchSampler(Sampler[Draw]):
    """Draws batches; the order is a function of (seed, epoch), so a restart in a later epoch repeats it without stored state."""

    def __init__(self, num_examples: int, batch_size: int, seed: int, shuffle: bool) -> None:
        self._num_examples, self._batch_size, self._seed, self._shuffle = num_examples, batch_size, seed, shuffle
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it before each one."""
        self._epoch = epoch

    def __len__(self) -> int:
        if self._shuffle and self._num_examples > self._batch_size:
            return self._num_examples // self._batch_size  # a short last batch would weigh its examples more
        return -(-self._num_examples // self._batch_size)

    def __iter__(self) -> Iterator[Draw]:
        rows = np.arange(self._num_examples)
        if self._shuffle:
            rows = np.random.default_rng([self._seed, self._epoch]).permutation(rows)
        for step in range(len(self)):
            seed = np.random.SeedSequence([self._seed, self._epoch, step]).generate_state(1, np.uint64)[0]
            # Sorted rows are read from the memory map in order; their order within a batch has no meaning.
            yield Draw(np.sort(rows[step * self._batch_size : (step + 1) * self._batch_size]), int(seed >> np.uint64(1)))


class ImageData(LightningDataModule):
    """Batches of what `leyden prepare` packed, augmented on the device."""

    def __init__(
        self,
        folder: str = "artifacts/prepare",
        batch_size: int = 64,
        augment: Augment = Augment(),
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        """Read what is known of the data; the pixels are read by batch.

        Args:
            folder: Where `leyden prepare` wrote.
            batch_size: Examples per step and device.
            augment: What happens to training images.
            num_workers: Processes that read ahead; 0 is fastest for data in memory.
            seed: Decides order and augmentation (linked from seed_everything).
        """
        super().__init__()
        report = read_report(Path(folder))
        self.labels: list[str] = report["labels"]
        self.input: dict[str, Any] = report["input"]
        self.data_hash: str = report["data_hash"]
        if batch_size < 1:
            raise UserError(f"data.batch_size must be at least 1; got {batch_size}; set it in configs/train.yaml")
        self._folder, self._batch_size, self._num_workers, self._seed = Path(folder), batch_size, num_workers, seed
        self._augment = augment

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader("test", shuffle=False)

    def _loader(self, split: str, shuffle: bool) -> DataLoader[Batch]:
        arrays = read_split(self._folder, split)
        # Larger batches where no gradient is kept.
        sampler = BatchSampler(len(arrays.labels), self._batch_size * (1 if shuffle else 4), self._seed, shuffle)
        return DataLoader(
            PackedImages(arrays),
            batch_size=None,
            sampler=sampler,
            num_workers=self._num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self._num_workers > 0,
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, labels, seed = batch
        return (self._augment(images, seed) if self.trainer and self.trainer.training else images), labels
