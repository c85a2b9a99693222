"""How the learning rate goes over a training, and how many batches make a step."""

import math
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

Schedule = Literal["cosine", "linear", "one_cycle", "constant"]


def make_schedule(name: Schedule, optimizer: Optimizer, total: int, warmup_fraction: float) -> LRScheduler:
    """Make the schedule over `total` optimizer steps; the optimizer's `lr` is its peak.

    Source: for one_cycle, Smith and Topin, "Super-Convergence", 2018; momentum stays as it is.
    """
    if name == "one_cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, peaks, total_steps=max(2, total), pct_start=warmup_fraction, cycle_momentum=False)
    factor = {"cosine": warmup_cosine, "linear": warmup_linear, "constant": warmup_constant}[name]
    return LambdaLR(optimizer, lambda step: factor(step, total, warmup_fraction))


def warmup_cosine(step: int, total: int, warmup_fraction: float) -> float:
    """Give the factor on the peak learning rate at a step: linear from 0 to 1, then half a cosine to 0.

    Source: Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts.
    """
    warmup = warmup_fraction * total
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def warmup_linear(step: int, total: int, warmup_fraction: float) -> float:
    """Give the factor on the peak learning rate at a step: linear from 0 to 1, then linear to 0, which short trainings gain by.

    Source: Defazio et al., "Optimal Linear Decay Learning Rate Schedules and Further Refinements", 2024, section 4.
    """
    rise = warmup_fraction * total
    return min((step + 1) / (rise + 1), max(0.0, (total - step) / max(1.0, total - rise)))


def warmup_constant(step: int, total: int, warmup_fraction: float) -> float:
    """Give the factor on the peak learning rate at a step: linear from 0 to 1, then 1."""
    return min(1.0, (step + 1) / (warmup_fraction * total + 1))


def group_size(batch: int, group: int, total: float) -> float:
    """Tell how many batches of an epoch of `total` are accumulated into one step with a batch: fewer than `group` at the epoch's end."""
    return min(group, total - batch // group * group)
