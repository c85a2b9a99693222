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

from leyden.data.augment import Augment, AugmentParams
from leyden.data.datamodule import ImageData
from leyden.data.loader import Loader, position
from leyden.data.packed import read_report
from leyden.data.replica import rank_and_world_size
from leyden.data.shards import ShardFolder
from leyden.errors import UserError

Batch = tuple[
    Tensor, Tensor, tuple[int, int]
]  # images uint8 (B, C, H, W); labels int64 (B,); seed and first place in the global batch


class ShardDraw(NamedTuple):
    """A batch to gather: this process's rows, where they lie in the global batch, and the seed that it is augmented by.

    `needed` are the shards that it lies in, but for chance, and `ahead` those that will be needed next.
    """

    rows: np.ndarray
    first: int
    seed: int
    needed: tuple[int, ...]
    ahead: tuple[int, ...]


class ShardSampler(Sampler[ShardDraw]):
    """Draws batches that a few shards at a time suffice for; a function of (seed, epoch, step), on any number of processes.

    An epoch takes the shards in a new order, `window` at a time, and the examples of a window in a random order. The global
    batch of a step has `batch_size * world_size` examples, sorted by shard; each process takes a run of them, so that 2
    processes of 32 see what 1 process of 64 does, while each reads little more than its part of the shards.
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
            counts: (S,) examples in each shard.
            window: Shards whose examples are mixed.
            batch_size: Examples per step and process.
            seed: Decides the order.
            rank: This process.
            world_size: All processes.
            first_step: Tells, when an epoch begins, which of its steps comes first: above 0 after a restart in its middle.
        """
        self._counts, self._window, self._seed = counts, window, seed
        self._starts = np.cumsum(counts) - counts
        self._global_size, self._rank, self._world_size = batch_size * world_size, rank, world_size
        self._epoch, self._first_step = 0, first_step

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it before each one."""
        self._epoch = epoch

    def __len__(self) -> int:
        return max(1, int(self._counts.sum()) // self._global_size)  # a short last batch would weigh its examples more

    def windows(self) -> list[np.ndarray]:
        """Give the epoch's shards in the order in which they are seen, in windows of nearly one size."""
        shards = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._counts))
        return np.array_split(shards, -(-len(shards) // self._window))

    def rows_of(self, shards: np.ndarray, number: int) -> np.ndarray:
        """Give the examples of a window in their order."""
        rows = np.concatenate(
            [np.arange(self._starts[shard], self._starts[shard] + self._counts[shard]) for shard in shards]
        )
        return np.random.default_rng([self._seed, self._epoch, number]).permutation(rows)

    def part(self, shards: np.ndarray) -> tuple[int, ...]:
        """Give the shards of a window that this process's runs lie in, but for chance at their ends."""
        shards = np.sort(shards)
        ends = np.cumsum(self._counts[shards]) / self._counts[shards].sum() * self._world_size
        starts = np.concatenate([[0.0], ends[:-1]])
        return tuple(shards[(ends > self._rank) & (starts < self._rank + 1)].tolist())

    def __iter__(self) -> Iterator[ShardDraw]:
        windows, number = self.windows(), 0
        waiting = np.empty(0, np.int64)
        current: tuple[int, ...] = ()
        first_step = self._first_step()
        for step in range(len(self)):
            needed = current
            while len(waiting) < self._global_size and number < len(windows):
                waiting = np.concatenate([waiting, self.rows_of(windows[number], number)])
                current, number = self.part(windows[number]), number + 1
                needed = (*needed, *current)
            batch, waiting = np.sort(waiting[: self._global_size]), waiting[self._global_size :]
            if step < first_step:
                continue
            first, last = (len(batch) * rank // self._world_size for rank in (self._rank, self._rank + 1))
            seed = np.random.SeedSequence([self._seed, self._epoch, step]).generate_state(1, np.uint64)[0]
            # A batch across two windows waits with what is ahead, so that no more than two windows are ever kept.
            ahead = self.part(windows[number]) if needed == current and number < len(windows) else ()
            yield ShardDraw(batch[first:last], first, int(seed >> np.uint64(1)), needed, ahead)


class ShardedImages(Dataset[Batch]):
    """Gathers a batch from the shards that it lies in."""

    def __init__(self, shards: ShardFolder) -> None:
        self._shards = shards

    def __getitem__(self, draw: ShardDraw) -> Batch:
        self._shards.prepare(draw.needed, draw.ahead)
        images, labels = self._shards.gather(draw.rows)
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels), (draw.seed, draw.first)


class StreamedImageData(LightningDataModule):
    """Batches of what `leyden prepare --shards` wrote: training images from the shards, the others from the packed arrays."""

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
        """Read what is known of the data, and the list of the shards.

        Args:
            folder: Where `leyden prepare` wrote.
            shards: Folder or URL of the shards; null is where `leyden prepare` put them.
            batch_size: Examples per step and device.
            augment: What happens to training images.
            shuffle_window: Shards whose examples are mixed; more mix better and take more of the cache.
            cache: Folder that shards are fetched to from a URL; processes of one machine share it.
            max_cache_gb: Most that the cache may hold.
            num_workers: Processes that read ahead.
            seed: Decides order and augmentation (linked from seed_everything).
        """
        super().__init__()
        report = read_report(Path(folder))
        if "shards" not in report:
            raise UserError(
                f"expected shards; {folder} holds packed arrays; run `leyden prepare --shards=FOLDER_OR_URL`, or use leyden.ImageData"
            )
        if shuffle_window < 1 or batch_size < 1:
            raise UserError(
                f"data.shuffle_window and data.batch_size must be at least 1; got {shuffle_window} and {batch_size}"
            )
        self._packed = ImageData(folder, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.labels, self.input, self.class_counts = self._packed.labels, self._packed.input, self._packed.class_counts
        self.data_hash = self._packed.data_hash
        height, width = self.input["image_size"]
        self._shards = ShardFolder(
            shards or report["shards"], (height, width, self.input["channels"]), Path(cache), int(max_cache_gb * 1e9)
        )
        self._shards.check(sum(self.class_counts), shuffle_window)
        self._augment, self._batch_size, self._window = augment, batch_size, shuffle_window
        self._num_workers, self._seed = num_workers, seed

    def setup(self, stage: str) -> None:
        self._packed.trainer = self.trainer

    def train_dataloader(self) -> DataLoader[Batch]:
        return Loader(
            ShardedImages(self._shards),
            batch_size=None,
            sampler=ShardSampler(
                self._shards.counts,
                self._window,
                self._batch_size,
                self._seed,
                *rank_and_world_size(self.trainer),
                partial(position, self.trainer),
            ),
            num_workers=self._num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self._num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return self._packed.val_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        return self._packed.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Give raw uint8 images (B, C, H, W) and labels."""
        if not (self.trainer and self.trainer.training):
            return batch[0], batch[1]
        images, labels, (seed, first) = batch
        height, width = self.input["image_size"]
        draws = self._augment.draw(self._batch_size * rank_and_world_size(self.trainer)[1], height, width, seed)
        own = AugmentParams(*(draw[first : first + len(labels)] for draw in draws))
        return self._augment(images, own, torch.tensor(self.input["mean"])), labels
