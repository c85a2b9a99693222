"""Learning-rate schedules over optimizer steps."""

import math
from dataclasses import dataclass
from typing import Literal

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from leyden.ranges import check_range


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
        check_range("model.schedule", "[0, 1)", warmup_fraction=self.warmup_fraction)


def make_schedule(schedule: Schedule, optimizer: Optimizer, num_steps: int) -> LRScheduler:
    """Build the scheduler for `num_steps` optimizer steps.

    Source: for one_cycle, Smith and Topin, "Super-Convergence", 2018; momentum is not cycled.
    """
    warmup = schedule.warmup_fraction
    if schedule.name == "one_cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, peaks, total_steps=max(2, num_steps), pct_start=warmup, cycle_momentum=False)
    return LambdaLR(optimizer, lambda step: warmup_factor(schedule.name, step, num_steps, warmup))


def scale_learning_rate(optimizer: Optimizer, factor: int) -> None:
    """Multiply the learning rate of every parameter group, and print it."""
    for group in optimizer.param_groups:
        rate = group["lr"]
        group["lr"] *= factor
        rank_zero_info(f"fit: learning rate {rate:g} times {factor} is {group['lr']:g} (model.schedule.scale_lr: auto)")


def warmup_factor(name: str, step: int, num_steps: int, warmup_fraction: float) -> float:
    """Return the factor on the peak learning rate at a step: linear from 0 to 1, then the named curve.

    Source: cosine by Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts; linear, which helps short
    trainings, by Defazio et al., "Optimal Linear Decay Learning Rate Schedules and Further Refinements", 2024,
    section 4.
    """
    warmup = warmup_fraction * num_steps
    rise, num_decay_steps = (step + 1) / (warmup + 1), max(1.0, num_steps - warmup)
    if name == "linear":
        return min(rise, max(0.0, (num_steps - step) / num_decay_steps))
    if name == "constant" or step < warmup:
        return min(1.0, rise)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / num_decay_steps))


def accumulation_size(batch_idx: int, full_size: int, num_batches: float) -> float:
    """Return how many of an epoch's batches are accumulated into the step of a batch; the last group may be smaller."""
    return min(full_size, num_batches - batch_idx // full_size * full_size)
