"""The classification task: how classes are read, the loss and scores."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from leyden.errors import UserError
from leyden.tasks.classification import Classification
from leyden.tasks.targets import LossOptions
from tests.tasks.sources import FILE, SOURCE

TASK = Classification(["a", "b", "c"])
LOGITS, TARGETS = (
    torch.tensor([[2.0, 0.0, -1.0], [3.0, 1.0, 0.0], [0.5, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 0.0, 0.0]]),
    torch.tensor([0, 1, 0, 1, 1]),
)


def test_classes_are_sorted_and_at_least_two():
    assert Classification.from_texts(["b", "a", "b"], SOURCE).labels == ["a", "b"]
    with pytest.raises(UserError, match="expected examples of two classes or more in data; got only 'a'"):
        Classification.from_texts(["a", "a"], SOURCE)


def test_a_target_is_the_index_of_its_class_and_a_stratum_the_class():
    assert TASK.encode("c", FILE) == 2
    assert TASK.inspect("c", FILE) == (["c"], "c")
    assert TASK.strata(["c", "a"]) == ["c", "a"]
    assert TASK.rows_with(TARGETS.numpy(), 1).tolist() == [1, 3, 4]


def test_the_loss_is_smoothed_by_a_tenth_unless_it_is_set():
    for value, smoothing in ((None, 0.1), (0.0, 0.0)):
        loss = TASK.make_loss(LossOptions(label_smoothing=value))(LOGITS, TARGETS)
        assert torch.allclose(loss, F.cross_entropy(LOGITS, TARGETS, label_smoothing=smoothing))


def test_scores_are_exact_for_batches_of_unequal_sizes():
    """Class a: 2 of 2 correct; class b: 1 of 3; class c is absent."""
    scores = TASK.make_scores("test/")
    scores.update(LOGITS[:1], TARGETS[:1])
    scores.update(LOGITS[1:], TARGETS[1:])
    values = {name: float(value) for name, value in scores.compute().items()}
    assert values == {
        "test/loss": pytest.approx(float(F.cross_entropy(LOGITS, TARGETS))),
        "test/accuracy": pytest.approx(3 / 5),
        "test/balanced_accuracy": pytest.approx((1 + 1 / 3) / 2),
    }


def test_balanced_sampling_draws_classes_equally_often():
    targets = np.array([0, 0, 0, 1, 2, 2])
    weights = TASK.sampling_weights(targets)
    assert [weights[targets == index].sum() for index in range(3)] == pytest.approx([1, 1, 1])


def test_targets_that_are_mixed_are_probabilities():
    assert TASK.soft_targets(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_the_distance_to_a_teacher_is_hintons():
    p, q = ((logits / 2).softmax(1) for logits in (LOGITS.flip(0), LOGITS))
    assert torch.allclose(TASK.distance(LOGITS, LOGITS.flip(0), 2.0), 4 * (p * (p / q).log()).sum(1).mean(), atol=1e-6)


def test_the_distance_of_dense_outputs_is_the_mean_over_pixels():
    pixels, others = LOGITS.T.reshape(1, 3, 1, 5), LOGITS.flip(0).T.reshape(1, 3, 1, 5)
    assert torch.allclose(TASK.distance(pixels, others, 2.0), TASK.distance(LOGITS, LOGITS.flip(0), 2.0))
