"""Intervals of predicted numbers, by split conformal prediction."""

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from leyden.statistics.conformal import conformal_radius


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
        self.residuals.append(outputs.float() - targets)

    def compute(self) -> Tensor:
        """Return the radius of each target, (K,); infinite if there are too few examples."""
        residuals = torch.cat(self.residuals) if isinstance(self.residuals, list) else self.residuals
        radii = [conformal_radius(each, self.coverage) for each in residuals.cpu().numpy().T]
        return torch.tensor([math.inf if radius is None else radius for radius in radii])
