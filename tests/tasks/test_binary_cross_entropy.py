"""Binary cross-entropy with class weights and label smoothing."""

import pytest
import torch

from leyden.errors import UserError
from leyden.tasks.binary_cross_entropy import BinaryCrossEntropy

LOGITS, TARGETS = torch.tensor([[1.0, -1.0], [0.5, 2.0], [0.0, -9.0], [3.0, 1.0]]), torch.tensor([[0, 1]] * 4)


def test_a_batch_is_the_mean_of_its_parts():
    loss = BinaryCrossEntropy(torch.tensor([0.5, 3.0]), 0.1)
    halves = (loss(LOGITS[:2], TARGETS[:2]) + loss(LOGITS[2:], TARGETS[2:])) / 2
    assert torch.allclose(halves, loss(LOGITS, TARGETS))


def test_the_loss_of_equal_odds_is_the_logarithm_of_two():
    for smoothing in (0.0, 0.5):
        loss = BinaryCrossEntropy(None, smoothing)(torch.zeros(3, 2), torch.ones(3, 2, dtype=torch.uint8))
        assert float(loss) == pytest.approx(0.693147, abs=1e-6)


def test_a_mixture_of_targets_has_the_mixture_of_their_losses():
    loss, others = BinaryCrossEntropy(torch.tensor([0.5, 3.0]), 0.0), 1 - TARGETS
    mixed = loss(LOGITS, 0.3 * TARGETS + 0.7 * others)
    assert torch.allclose(mixed, 0.3 * loss(LOGITS, TARGETS) + 0.7 * loss(LOGITS, others))


def test_a_bfloat16_module_computes_the_loss_in_float32():
    weights = torch.tensor([0.5, 3.0])  # which bfloat16 holds exactly
    expected = BinaryCrossEntropy(weights, 0.1)(LOGITS, TARGETS)
    assert torch.equal(BinaryCrossEntropy(weights, 0.1).bfloat16()(LOGITS, TARGETS), expected)


def test_a_smoothing_of_one_is_refused():
    with pytest.raises(UserError, match="label_smoothing"):
        BinaryCrossEntropy(None, 1.0)
