"""Cross-entropy with class weights and label smoothing."""

import pytest
import torch
from torch.nn import functional as F

from leyden.errors import UserError
from leyden.tasks.cross_entropy import CrossEntropy, weigh_classes

LOGITS, TARGETS = torch.tensor([[1.0, -1.0], [0.5, 2.0], [0.0, 0.0], [3.0, 1.0]]), torch.tensor([0, 0, 1, 1])
WEIGHTS = torch.tensor([0.5, 3.0])


def test_a_batch_is_the_mean_of_its_parts():
    """Torch's own weighted mean is not: it divides by the weights of the labels in a batch."""
    loss = CrossEntropy(WEIGHTS, 0.1)
    halves = (loss(LOGITS[:2], TARGETS[:2]) + loss(LOGITS[2:], TARGETS[2:])) / 2
    assert torch.allclose(halves, loss(LOGITS, TARGETS))
    assert not torch.allclose(loss(LOGITS, TARGETS), F.cross_entropy(LOGITS, TARGETS, WEIGHTS, label_smoothing=0.1))


def test_weights_multiply_the_losses_of_their_class():
    expected = (WEIGHTS[TARGETS] * F.cross_entropy(LOGITS, TARGETS, reduction="none")).mean()
    assert torch.allclose(CrossEntropy(WEIGHTS, 0.0)(LOGITS, TARGETS), expected)


def test_probabilities_are_targets_too():
    loss = CrossEntropy(WEIGHTS, 0.1)
    assert torch.allclose(loss(LOGITS, F.one_hot(TARGETS).float()), loss(LOGITS, TARGETS))


def test_automatic_weights_are_inverse_to_the_counts_with_a_mean_of_one():
    counts = torch.tensor([90, 10])
    weights = weigh_classes("auto", ["a", "b"], counts.tolist())
    assert weights is not None
    assert float(weights[1] / weights[0]) == pytest.approx(9.0)
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1.0)


def test_weights_by_name_are_one_where_they_are_not_set():
    assert weigh_classes({"7": 2.0}, ["3", "7"], None).tolist() == [1.0, 2.0]
    assert weigh_classes({7: 2.0}, ["3", "7"], None).tolist() == [1.0, 2.0]  # as YAML reads it
    assert weigh_classes(None, ["3", "7"], None) is None


@pytest.mark.parametrize(
    ("weights", "expected"),
    [({"c": 1.0}, r"by class name \(a, b\); got c"), ({"a": -1.0}, "a"), ("auto", "expected class_counts")],
)
def test_invalid_weights_are_refused(weights, expected):
    with pytest.raises(UserError, match=expected):
        weigh_classes(weights, ["a", "b"], None)


def test_a_smoothing_of_one_is_refused():
    with pytest.raises(UserError, match="label_smoothing"):
        CrossEntropy(None, 1.0)
