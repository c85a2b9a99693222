"""Rows of predictions as JSON holds them, and the unit in which two models' outputs are compared."""

import numpy as np
import pytest

from leyden.outputs import load_reader

REGRESSION = {"labels": ["angle", "size"], "task": {"name": "regression", "units": ["deg", "m"], "std": [50.0, 0.01]}}


@pytest.mark.parametrize(
    ("description", "outputs", "expected"),
    [
        (
            {"labels": ["3", "4"]},
            [[0.0, 0.0]],
            {"prediction": "3", "confidence": 0.5, "prediction_2": "4", "confidence_2": 0.5},
        ),
        (REGRESSION, [[1.5, -2.0]], {"angle": 1.5, "size": -2.0}),
        (
            {"labels": ["1", "b"], "task": {"name": "multilabel"}},
            [[0.0, 0.0]],
            {"labels": ["1", "b"], "probability_1": 0.5, "probability_b": 0.5},
        ),
        (
            {"labels": ["1", "b"], "task": {"name": "multilabel"}},
            [[-1e9, -1e9]],
            {"labels": [], "probability_1": 0.0, "probability_b": 0.0},
        ),
        (
            {"labels": ["a", "b"], "task": {"name": "segmentation"}},
            [[[[0.0, 1.0]], [[1.0, 0.0]]]],
            {"share_a": 0.5, "share_b": 0.5},
        ),
    ],
)
def test_numbers_are_numbers_and_labels_are_texts(description, outputs, expected):
    reader = load_reader(description)
    assert reader.to_json(reader.rows(np.array(outputs, np.float32), 2)[0]) == expected


def test_the_spread_of_logits_is_one_number_and_that_of_targets_is_theirs():
    outputs = np.array([[100.0, 0.0], [0.0, 0.0]], np.float32)
    assert load_reader({"labels": ["a", "b"]}).spread(outputs) == pytest.approx(np.sqrt(1875))
    assert np.array_equal(load_reader(REGRESSION).spread(outputs), [50.0, 0.01])


def test_the_shape_of_an_examples_outputs():
    assert load_reader(REGRESSION).output_shape((6, 8)) == (2,)
    assert load_reader({"labels": ["a"], "task": {"name": "segmentation"}}).output_shape((6, 8)) == (1, 6, 8)
