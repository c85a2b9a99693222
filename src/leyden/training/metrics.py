"""The mean of the training loss."""

from typing import Any

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor


class RunningMean:
    """Accumulates a weighted mean on the device, without synchronising with it.

    torchmetrics' MeanMetric checks for NaN at each step, which waits for the GPU.
    """

    total: Tensor  # sum of values times weights, float32 ()
    weight: int

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.total, self.weight = torch.zeros(()), 0

    def update(self, value: Tensor, weight: int) -> None:
        """Add a mean () over `weight` examples."""
        self.total = self.total.to(value.device) + value * weight
        self.weight += weight

    def compute(self, strategy: Strategy) -> Tensor:
        """Return the mean over the examples of all processes, ()."""
        sums = torch.stack([self.total.cpu(), torch.tensor(float(self.weight))]).to(strategy.root_device)
        total, weight = strategy.reduce(sums, reduce_op="sum")
        return total / weight

    def gather(self) -> list[list[float]]:
        """Return the sum and the weight of every process, by rank, for a checkpoint in the middle of an epoch."""
        own = [float(self.total), float(self.weight)]
        if not torch.distributed.is_initialized():
            return [own]
        sums: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(sums, own)
        return sums

    def restore(self, sums: list[list[float]], rank: int, world_size: int) -> None:
        """Continue from gathered sums; if the number of processes has changed, rank 0 takes all of them."""
        values = torch.tensor(sums, dtype=torch.float64)
        own = values[rank] if len(values) == world_size else values.sum(0) * (rank == 0)
        self.total, self.weight = own[0].float(), int(own[1])
