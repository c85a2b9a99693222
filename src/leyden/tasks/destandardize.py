"""Targets in their units: what a model for regression returns, and its loss."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Destandardize(nn.Module):
    """Converts standardised outputs to the targets' units."""

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("target_mean", torch.tensor(mean))
        self.register_buffer("target_std", torch.tensor(std))

    def forward(self, outputs: Tensor) -> Tensor:
        """Map (B, K) in standard deviations to (B, K) in units."""
        return outputs * self.target_std + self.target_mean


class ScaledHuber(nn.Module):
    """The mean Huber loss in units of the targets' standard deviation: squared up to one of them, linear above.

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """

    target_std: Tensor

    def __init__(self, std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("target_std", torch.tensor(std), persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Map outputs and targets (B, K) in the targets' units to float32 ()."""
        scale = self.target_std.float()  # bf16-true converts buffers too
        return F.huber_loss(outputs.float() / scale, targets.float() / scale)
