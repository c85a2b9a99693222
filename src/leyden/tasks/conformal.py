"""Intervals of predicted numbers, by split conformal prediction."""

import math

import torch
from torch import Tensor
from torchmetrics import Metric


class ConformalRadius(Metric):
    """Finds the distance from a prediction within which a given fraction of true values lie.

    The intervals contain at least that fraction of new examples on average, whatever the model, if these are like those
    of the validation split.

    Source: Lei et al., "Distribution-free predictive inference for regression", 2018, section 2.2.
    """

    full_state_update = False
    residuals: list[Tensor]

    def __init__(self, coverage: float) -> None:
        super().__init__()
        self.coverage = coverage
        self.add_state("residuals", [], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add examples: outputs and targets (B, K)."""
        self.residuals.append((outputs.float() - targets).abs())

    def compute(self) -> Tensor:
        """Return the radius of each target, (K,); infinite if there are too few examples."""
        residuals = torch.cat(self.residuals) if isinstance(self.residuals, list) else self.residuals
        rank = math.ceil((len(residuals) + 1) * self.coverage)
        if rank > len(residuals):
            return torch.full((residuals.shape[1],), torch.inf)
        return residuals.sort(dim=0).values[rank - 1]
