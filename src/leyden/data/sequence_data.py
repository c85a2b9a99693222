"""The packed sequences as a LightningDataModule: batches of sequences with similar lengths."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from leyden.data.loader import check_loader_settings, make_loader, next_batch_index
from leyden.data.packed import check_targets, read_report
from leyden.data.replica import rank_and_world_size
from leyden.data.sampler import BatchIndex, BatchSampler
from leyden.data.sequences import SequenceSplit, read_sequence_split
from leyden.errors import UserError
from leyden.ranges import check_range
from leyden.tasks import CLASSIFICATION, load_task

# values float32 (B, T, F), zero after each sequence's end, and lengths int64 (B,); targets of the task
Batch = tuple[tuple[Tensor, Tensor], Tensor]


class PackedSequences(Dataset[Batch]):
    """Gathers and pads a batch at a time."""

    def __init__(self, split: SequenceSplit) -> None:
        self._split = split

    def __getitem__(self, index: BatchIndex) -> Batch:
        values, lengths = self._split.sequences[index.rows]
        return (torch.from_numpy(values), torch.from_numpy(lengths)), torch.from_numpy(self._split.targets[index.rows])


class SequenceData(LightningDataModule):
    """Batches of the sequences that `leyden prepare` packed."""

    def __init__(
        self,
        folder: str = "artifacts/prepare",
        batch_size: int = 64,
        sampler: str = "uniform",
        bucket_batches: int = 16,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        """Read the report of the prepared data; values are read batch by batch.

        Args:
            folder: Folder that `leyden prepare` wrote.
            batch_size: Sequences per step and device.
            sampler: uniform sees every training example once per epoch; balanced draws all classes equally often.
            bucket_batches: Number of training batches that are sorted by length together, to reduce padding; 1 is off.
            num_workers: Processes that read ahead; 0 is fastest for data in memory.
            seed: Decides the order (linked from seed_everything).

        Raises:
            UserError: if the folder holds no sequences, or an argument is out of range.
        """
        super().__init__()
        report = read_report(Path(folder))
        if "features" not in report["input"]:
            raise UserError(
                f"expected sequences; {folder} holds images; set data to leyden.ImageData and a network for images in "
                "configs/train.yaml"
            )
        self.labels: list[str] = report["labels"]
        self.input: dict[str, Any] = report["input"]
        self.task: dict[str, Any] = report.get("task") or CLASSIFICATION
        self.class_counts: list[int] = [report["counts"]["train"][label] for label in self.labels]
        self.data_hash: str = report["data_hash"]
        check_loader_settings(batch_size, num_workers, seed)
        check_range("data", "[1, inf)", bucket_batches=bucket_batches)
        if sampler not in ("uniform", "balanced"):
            raise UserError(f"data.sampler must be uniform or balanced; got {sampler!r}; set it in configs/train.yaml")
        self._folder, self._batch_size, self._sampler = Path(folder), batch_size, sampler
        self._bucket_batches, self._num_workers, self._seed = bucket_batches, num_workers, seed

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader("train", self._batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader("val", 4 * self._batch_size)  # no gradients are kept

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader("test", 4 * self._batch_size)

    def _sampling_weights(self, targets: np.ndarray) -> np.ndarray:
        return load_task({"labels": self.labels, "task": self.task}).sampling_weights(targets)

    def _loader(self, name: str, batch_size: int, shuffle: bool = False) -> DataLoader[Batch]:
        split = read_sequence_split(self._folder, name)
        check_targets(split.targets, load_task({"labels": self.labels, "task": self.task}), (), self._folder)
        sampler = BatchSampler(
            len(split.targets),
            batch_size,
            self._seed,
            shuffle,
            self._sampling_weights(split.targets) if shuffle and self._sampler == "balanced" else None,
            *rank_and_world_size(self.trainer),
            lengths=split.sequences.lengths if shuffle else None,
            bucket_batches=self._bucket_batches,
            first_step=partial(next_batch_index, self.trainer) if shuffle else int,
        )
        return make_loader(PackedSequences(split), sampler, self._num_workers)
