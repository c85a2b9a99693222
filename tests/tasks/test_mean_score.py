"""The mean of a score over the examples."""

import pytest
import torch
from torch.nn import functional as F

from leyden.tasks.mean_score import MeanScore


def test_it_is_exact_for_batches_of_any_size():
    outputs, targets = torch.arange(10.0), torch.zeros(10)
    score = MeanScore(F.mse_loss)
    for part in (slice(0, 1), slice(1, 8), slice(8, 10)):
        score.update(outputs[part], targets[part])
    assert float(score.compute()) == pytest.approx(float(F.mse_loss(outputs, targets)))
