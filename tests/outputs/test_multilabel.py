"""What a multi-label model's outputs mean."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, hamming_loss

from leyden.errors import UserError
from leyden.outputs import load_reader
from tests.outputs.values import values_of

TASK = {"name": "multilabel", "temperatures": [2.0, 1.0, 0.5], "thresholds": [0.5, 0.9, 0.2]}
READER = load_reader({"labels": ["cat", "dog", "mouse"], "task": TASK})
OUTPUTS = np.array([[2.0, 2.0, -0.6], [-1.0, 3.0, -1.0], [0.0, 0.0, 0.0]], np.float32)
TARGETS = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], np.uint8)


def test_a_label_is_predicted_from_its_threshold_on():
    expected = 1 / (1 + np.exp(-OUTPUTS / [2.0, 1.0, 0.5]))
    assert np.allclose(READER.probabilities(OUTPUTS), expected)
    assert READER.decide(OUTPUTS).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert READER.decide(OUTPUTS).dtype == TARGETS.dtype
    assert np.isfinite(READER.probabilities(np.full((1, 3), -1e30))).all()


def test_errors_are_wrong_labels_and_models_agree_on_equal_sets():
    assert READER.errors(OUTPUTS, TARGETS).tolist() == [2.0, 0.0, 2.0]
    assert READER.agreement(OUTPUTS, OUTPUTS * [1, 2, 1]).tolist() == [0.0, 1.0, 1.0]


def test_measures_are_scikit_learns():
    generator = np.random.default_rng(0)
    targets = (generator.random((60, 3)) < 0.4).astype(np.uint8)
    outputs = (2 * targets - 1 + 1.5 * generator.normal(size=(60, 3))).astype(np.float32)
    predicted, values = READER.decide(outputs), values_of(READER, outputs, targets)
    assert values[READER.headline] == pytest.approx(average_precision_score(targets, outputs, average="macro"))
    assert values["macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert values["micro_f1"] == pytest.approx(f1_score(targets, predicted, average="micro"))
    assert values["f1/dog"] == pytest.approx(f1_score(targets[:, 1], predicted[:, 1]))
    assert values["hamming_loss"] == pytest.approx(hamming_loss(targets, predicted))
    assert values["hamming_loss"] == pytest.approx(READER.errors(outputs, targets).mean() / 3)
    assert values["exact_match"] == (predicted == targets).all(axis=1).mean()


def test_rows_have_the_labels_and_the_probability_of_each():
    rows = READER.rows(OUTPUTS, limit=1)
    assert [list(row) for row in rows] == [READER.columns(1)] * 3
    assert rows[0] == {
        "labels": "cat;mouse",
        "probability_cat": "0.731059",
        "probability_dog": "0.880797",
        "probability_mouse": "0.231475",
    }
    assert [row["true_labels"] for row in READER.target_rows(TARGETS)] == ["cat;dog", "dog", ""]


def test_tables_hold_what_is_scored():
    rows = [true | row for true, row in zip(READER.target_rows(TARGETS), READER.rows(OUTPUTS, 1), strict=True)]
    assert READER.parse_targets(rows).tolist() == TARGETS.tolist()
    assert np.allclose(READER.parse_rows(rows), OUTPUTS, atol=1e-4)


def test_predicted_labels_are_explained_the_most_probable_first():
    assert READER.explained_labels(OUTPUTS) == [[0, 2], [1], [0, 2]]
    assert READER.explained_labels(OUTPUTS[:1] * [1, 3, 1]) == [[1, 0, 2]]
    assert READER.explained_labels(np.array([[-3.0, -1.0, -2.0]])) == [[1]]  # none is predicted
    outputs = torch.from_numpy(OUTPUTS)
    assert torch.equal(READER.response(outputs, READER.reference(outputs)), outputs.sigmoid())


def test_without_calibration_the_threshold_is_a_half():
    reader = load_reader({"labels": ["a"], "task": {"name": "multilabel"}})
    assert reader.decide(np.array([[0.1], [-0.1]])).tolist() == [[1], [0]]
    assert reader.probabilities(np.array([[2.0]])) == pytest.approx(1 / (1 + np.exp(-2)))


INVALID_FACTS = [
    {"thresholds": [0.5]},
    {"thresholds": [0, 0.5, 0.5]},
    {"thresholds": [0.5, 1, 0.5]},
    {"temperatures": [1, 0, 1]},
    {"temperatures": [1, float("inf"), 1]},
]


@pytest.mark.parametrize("facts", INVALID_FACTS)
def test_facts_that_do_not_fit_are_refused(facts):
    with pytest.raises(UserError, match="temperatures or thresholds that do not fit 3 label"):
        load_reader({"labels": READER.labels, "task": TASK | facts})
