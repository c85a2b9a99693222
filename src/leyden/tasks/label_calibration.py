"""Temperatures and thresholds of labels, from examples that the model was not trained on."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from leyden.statistics.label_temperature import label_temperature
from leyden.statistics.thresholds import choose_threshold


class LabelCalibration(Metric):
    """Finds the temperature of each label's logit, and the threshold of its calibrated probability.

    Examples are sorted first, so that the result does not depend on how they are divided over batches and processes.
    """

    full_state_update = False
    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add examples: logits float (B, K), targets uint8 (B, K)."""
        self.logits.append(logits.float())
        self.targets.append(targets)

    def compute(self) -> Tensor:
        """Return the temperatures, and the thresholds in (0, 1), float64 (2, K)."""
        states = (self.logits, self.targets)
        logits, targets = ((torch.cat(each) if isinstance(each, list) else each).cpu().numpy() for each in states)
        calibrated = [calibrate(*label) for label in zip(logits.T, targets.T, strict=True)]
        return torch.tensor(calibrated, dtype=torch.float64).T


def calibrate(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return one label's temperature and threshold, given logits (N,) and targets (N,), 0 or 1."""
    order = np.lexsort((targets, logits))
    logits, targets = logits[order].astype(np.float64), targets[order].astype(bool)
    temperature = label_temperature(logits, targets)
    return temperature, choose_threshold(0.5 + 0.5 * np.tanh(0.5 * logits / temperature), targets)
