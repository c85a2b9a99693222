"""The temperature and the threshold of each label."""

import numpy as np
import pytest
import torch

from leyden.statistics.label_temperature import label_temperature
from leyden.statistics.thresholds import choose_threshold
from leyden.tasks.label_calibration import LabelCalibration


def sample(count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw two labels from their logits, and scale the second one's logits by 3; a quarter of the logits are ties."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, 2, generator=generator) - 1
    logits[: count // 4] = logits[0]
    targets = torch.bernoulli(logits.sigmoid(), generator=generator).to(torch.uint8)
    return logits * torch.tensor([1.0, 3.0]), targets


def calibrate(*batches: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    metric = LabelCalibration()
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


def test_temperatures_calibrate_and_thresholds_apply_to_calibrated_probabilities():
    logits, targets = sample()
    temperatures, thresholds = calibrate((logits, targets))
    assert temperatures.tolist() == pytest.approx([1.0, 3.0], rel=0.2)
    assert temperatures[1] == pytest.approx(label_temperature(logits[:, 1], targets[:, 1]))
    for threshold, scores, label in zip(thresholds, (logits / temperatures).sigmoid().T, targets.T, strict=True):
        assert float(threshold) == pytest.approx(choose_threshold(scores, label), abs=0.01)
    assert ((thresholds > 0.2) & (thresholds < 0.5)).all()  # the best threshold of F1 is half of the best F1


def test_it_depends_neither_on_the_batches_nor_on_the_order():
    logits, targets = sample()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(logits)))
    parts = (order[:7], order[7:3000], order[3000:])
    assert torch.equal(calibrate(*((logits[part], targets[part]) for part in parts)), calibrate((logits, targets)))


def test_a_label_without_examples_has_a_threshold_of_a_half():
    assert calibrate((torch.randn(20, 1), torch.zeros(20, 1, dtype=torch.uint8)))[1] == 0.5
