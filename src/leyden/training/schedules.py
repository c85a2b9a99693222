"""Learning-rate schedules over optimizer steps."""

import math
from dataclasses import dataclass
from typing import Literal

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from leyden.training.settings import check_range


@dataclass
class Schedule:
    """How the learning rate changes over a training; the optimizer's `lr` is its peak.

    Args:
        name: Curve after the linear warm-up: cosine and linear decay to 0, constant stays; one_cycle is torch's
            OneCycleLR.
        warmup_fraction: Share of the steps in which the learning rate rises, in [0, 1).
        scale_lr: auto multiplies the learning rate by the number of processes and of accumulated batches, and prints it
            (Goyal et al., 2017, section 2.1); null does not change it.
    """

    name: Literal["cosine", "linear", "one_cycle", "constant"] = "cosine"
    warmup_fraction: float = 0.1
    scale_lr: Literal["auto"] | None = None

    def __post_init__(self) -> None:
        check_range(0, 1, "[0, 1)", warmup_fraction=self.warmup_fraction)


def make_schedule(schedule: Schedule, optimizer: Optimizer, num_steps: int) -> LRScheduler:
    """Build the scheduler for `num_steps` optimizer steps.

    Source: for one_cycle, Smith and Topin, "Super-Convergence", 2018; momentum is not cycled.
    """
    warmup = schedule.warmup_fraction
    if schedule.name == "one_cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, peaks, total_steps=max(2, num_steps), pct_start=warmup, cycle_momentum=False)
    factor = {"cosine": warmup_cosine, "linear": warmup_linear, "constant": warmup_constant}[schedule.name]
    return LambdaLR(optimizer, lambda step: factor(step, num_steps, warmup))


def scale_learning_rate(optimizer: Optimizer, factor: int) -> None:
    """Multiply the learning rate of every parameter group, and print it."""
    for group in optimizer.param_groups:
        rate = group["lr"]
        group["lr"] *= factor
        rank_zero_info(f"fit: learning rate {rate:g} times {factor} is {group['lr']:g} (model.schedule.scale_lr: auto)")


def warmup_cosine(step: int, total: int, warmup_fraction: float) -> float:
    """Return the factor on the peak learning rate at a step: linear from 0 to 1, then half a cosine to 0.

    Source: Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts.
    """
    warmup = warmup_fraction * total
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def warmup_linear(step: int, total: int, warmup_fraction: float) -> float:
    """Return the factor on the peak learning rate at a step: linear from 0 to 1, then linear to 0.

    Short trainings gain by it.

    Source: Defazio et al., "Optimal Linear Decay Learning Rate Schedules and Further Refinements", 2024, section 4.
    """
    warmup = warmup_fraction * total
    return min((step + 1) / (warmup + 1), max(0.0, (total - step) / max(1.0, total - warmup)))


def warmup_constant(step: int, total: int, warmup_fraction: float) -> float:
    """Return the factor on the peak learning rate at a step: linear from 0 to 1, then 1."""
    return min(1.0, (step + 1) / (warmup_fraction * total + 1))


def accumulation_size(batch_idx: int, full_size: int, num_batches: float) -> float:
    """Return how many batches are accumulated into the step of a batch: fewer than `full_size` at an epoch's end.

    Args:
        batch_idx: Index of the batch in its epoch.
        full_size: Number of batches that are accumulated into a full step.
        num_batches: Number of batches in the epoch.
    """
    return min(full_size, num_batches - batch_idx // full_size * full_size)
