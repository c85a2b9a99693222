"""Training images from litdata shards, in a folder or in object storage, for data larger than the disk."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from leyden.data.augment import Augment
from leyden.data.datamodule import ImageData
from leyden.data.loader import check_loader_settings, make_loader, next_batch_index
from leyden.data.packed import read_report
from leyden.data.replica import rank_and_world_size
from leyden.data.sampler import batch_seed
from leyden.data.shards import ShardFolder
from leyden.errors import UserError
from leyden.ranges import check_range

# images uint8 (B, C, H, W); labels int64 (B,); seed, and offset in the global batch
Batch = tuple[Tensor, Tensor, tuple[int, int]]


class ShardBatchIndex(NamedTuple):
    """A batch to gather."""

    rows: np.ndarray  # this process's rows
    offset: int  # index of the first of them in the global batch
    seed: int  # of the global batch's augmentation
    needed: tuple[int, ...]  # shards that hold the rows, except for a few rows by chance
    upcoming: tuple[int, ...]  # shards that will be needed next


class ShardSampler(Sampler[ShardBatchIndex]):
    """Samples batches from a few shards at a time, as a function of (seed, epoch, step), on any number of processes.

    An epoch visits the shards in a new order, `window` at a time, and the examples of a window in a random order. The
    global batch of a step has `batch_size * world_size` examples, sorted by shard; each process takes a contiguous
    part, so that 2 processes with 32 see what 1 process with 64 does, while each reads little more than its part of the
    shards.
    """

    def __init__(
        self,
        counts: np.ndarray,
        window: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        first_step: Callable[[], int] = int,
    ) -> None:
        """Describe the batches.

        Args:
            counts: (S,) number of examples in each shard.
            window: Number of shards whose examples are mixed.
            batch_size: Examples per step and process; this and the others are those of `BatchSampler`.
        """
        self._counts, self._window, self._seed = counts, window, seed
        self._starts = np.cumsum(counts) - counts
        self._global_size, self._rank, self._world_size = batch_size * world_size, rank, world_size
        self._epoch, self._first_step = 0, first_step

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it before each one."""
        self._epoch = epoch

    def __len__(self) -> int:
        # A short last batch is dropped: it would give its examples more weight.
        return max(1, int(self._counts.sum()) // self._global_size)

    def window_rows(self, shards: np.ndarray, index: int) -> np.ndarray:
        """Return the examples of window number `index` in the order in which they are visited."""
        rows = [np.arange(self._starts[shard], self._starts[shard] + self._counts[shard]) for shard in shards]
        return np.random.default_rng([self._seed, self._epoch, index]).permutation(np.concatenate(rows))

    def shards_of_rank(self, shards: np.ndarray) -> tuple[int, ...]:
        """Return the shards of a window that this process reads, except for a few examples at the ends of its parts."""
        shards = np.sort(shards)
        ends = np.cumsum(self._counts[shards]) / self._counts[shards].sum() * self._world_size
        starts = np.concatenate([[0.0], ends[:-1]])
        return tuple(shards[(ends > self._rank) & (starts < self._rank + 1)].tolist())

    def __iter__(self) -> Iterator[ShardBatchIndex]:
        shards = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._counts))
        windows, next_window = np.array_split(shards, -(-len(shards) // self._window)), 0  # of nearly equal size
        remaining = np.empty(0, np.int64)
        current: tuple[int, ...] = ()
        first_step = self._first_step()
        for step in range(len(self)):
            needed = current
            while len(remaining) < self._global_size and next_window < len(windows):
                remaining = np.concatenate([remaining, self.window_rows(windows[next_window], next_window)])
                current, next_window = self.shards_of_rank(windows[next_window]), next_window + 1
                needed = (*needed, *current)
            batch, remaining = np.sort(remaining[: self._global_size]), remaining[self._global_size :]
            if step < first_step:
                continue
            start, stop = (len(batch) * rank // self._world_size for rank in (self._rank, self._rank + 1))
            seed = batch_seed(self._seed, self._epoch, step)
            # A batch from two windows has no upcoming third one, so that no more than two windows are ever kept.
            has_upcoming = needed == current and next_window < len(windows)
            upcoming = self.shards_of_rank(windows[next_window]) if has_upcoming else ()
            yield ShardBatchIndex(batch[start:stop], start, seed, needed, upcoming)


class ShardedImages(Dataset[Batch]):
    """Gathers batches from shards."""

    def __init__(self, shards: ShardFolder) -> None:
        self._shards = shards

    def __getitem__(self, index: ShardBatchIndex) -> Batch:
        self._shards.prefetch(index.needed, index.upcoming)
        images, labels = self._shards.gather(index.rows)
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels), (index.seed, index.offset)


class StreamedImageData(LightningDataModule):
    """Batches of what `leyden prepare --shards` wrote: training images from shards, the others from packed arrays."""

    def __init__(
        self,
        folder: str = "artifacts/prepare",
        shards: str | None = None,
        batch_size: int = 64,
        augment: Augment = Augment(),
        shuffle_window: int = 8,
        cache: str = "runs/shards",
        max_cache_gb: float = 20.0,
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        """Read the report of the prepared data and the index of the shards.

        Args:
            folder: Folder that `leyden prepare` wrote.
            shards: Folder or URL of the shards; null is where `leyden prepare` wrote them.
            batch_size: Examples per step and device.
            augment: Augmentation of training images.
            shuffle_window: Number of shards whose examples are mixed; more mix better and take more of the cache.
            cache: Folder for shards that are downloaded from a URL; processes of one machine share it.
            max_cache_gb: Largest size of the cache.
            num_workers: Processes that read ahead.
            seed: Decides order and augmentation (linked from seed_everything).

        Raises:
            UserError: if the folder was prepared without shards, or an argument is out of range.
        """
        super().__init__()
        report = read_report(Path(folder))
        if "shards" not in report:
            raise UserError(
                f"expected shards; {folder} holds packed arrays; run `leyden prepare --shards=FOLDER_OR_URL`, or use "
                "leyden.ImageData"
            )
        check_loader_settings(batch_size, num_workers, seed)
        check_range("data", "[1, inf)", shuffle_window=shuffle_window)
        check_range("data", "(0, inf)", max_cache_gb=max_cache_gb)
        self._packed = packed = ImageData(folder, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.labels, self.input, self.class_counts = packed.labels, packed.input, packed.class_counts
        self.task, self.data_hash = packed.task, packed.data_hash
        shape = (*self.input["image_size"], self.input["channels"])
        self._shards = ShardFolder(shards or report["shards"], shape, Path(cache), int(max_cache_gb * 1e9))
        self._shards.check(sum(self.class_counts), shuffle_window)
        self._augment, self._batch_size, self._window = augment, batch_size, shuffle_window
        self._num_workers, self._seed = num_workers, seed

    def setup(self, stage: str) -> None:
        self._packed.trainer = self.trainer

    def train_dataloader(self) -> DataLoader[Batch]:
        rank_and_size = rank_and_world_size(self.trainer)
        first_step = partial(next_batch_index, self.trainer)
        counts = self._shards.counts
        sampler = ShardSampler(counts, self._window, self._batch_size, self._seed, *rank_and_size, first_step)
        return make_loader(ShardedImages(self._shards), sampler, self._num_workers)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._packed.val_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        return self._packed.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Return raw uint8 images (B, C, H, W) and labels."""
        if not (self.trainer and self.trainer.training):
            return batch[0], batch[1]
        images, labels, (seed, offset) = batch
        global_batch_size = self._batch_size * rank_and_world_size(self.trainer)[1]
        height, width = self.input["image_size"]
        params = self._augment.make_params(global_batch_size, height, width, seed)
        params = params.select(slice(offset, offset + len(labels)))
        return self._augment(images, params, torch.tensor(self.input["mean"])), labels
