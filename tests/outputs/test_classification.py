"""What a classifier's logits mean."""

import numpy as np
import pytest
import torch

from leyden.outputs import load_reader
from tests.outputs.values import values_of

READER = load_reader({"labels": ["a", "b", "c"], "temperature": 2.0})
LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0], [800.0, -800.0, 0.0]], np.float32)
TARGETS = np.array([0, 1, 0])


def test_probabilities_are_a_softmax_at_the_temperature():
    expected = torch.softmax(torch.from_numpy(LOGITS) / 2, dim=1).numpy()
    assert np.allclose(READER.probabilities(LOGITS), expected)
    assert READER.probabilities(LOGITS[:0]).shape == (0, 3)


def test_the_largest_logit_decides():
    assert READER.decide(LOGITS).tolist() == [0, 2, 0]
    assert READER.explained_labels(LOGITS) == [[0], [2], [0]]
    assert READER.errors(LOGITS, TARGETS).tolist() == [0.0, 1.0, 0.0]
    assert READER.agreement(LOGITS, LOGITS[:, ::-1]).tolist() == [0.0, 0.0, 0.0]
    assert READER.agreement(LOGITS, 3 * LOGITS).tolist() == [1.0, 1.0, 1.0]


def test_accuracy_is_the_fraction_of_right_classes():
    assert values_of(READER, LOGITS, TARGETS) == {"accuracy": pytest.approx(2 / 3)}


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_rows_have_the_most_confident_classes_in_order(limit):
    row = READER.rows(LOGITS, limit)[1]
    assert list(row) == READER.columns(limit)
    values = ["c", "0.628532", "b", "0.231224", "a", "0.140244"]
    assert list(row.values()) == values[: 2 * limit]
    assert READER.target_rows(TARGETS)[1] == {"label": "b"}


def test_curves_follow_the_probability():
    logits = torch.from_numpy(LOGITS)
    assert torch.equal(READER.response(logits, READER.reference(logits)), logits.softmax(1))
