"""What an ordinal model's outputs mean."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from leyden.outputs import load_reader
from tests.outputs.values import values_of

READER = load_reader({"labels": ["none", "mild", "severe"], "task": {"name": "ordinal"}, "temperature": 2.0})
OUTPUTS = np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0], [1.0, 4.0, 0.0]], np.float32)


def test_an_error_is_the_distance_in_grades():
    assert READER.errors(OUTPUTS, np.array([2, 2, 0])).tolist() == [2.0, 0.0, 1.0]


def test_measures_are_scikit_learns():
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 60)
    outputs = (np.eye(3)[targets] + 0.7 * generator.normal(size=(60, 3))).astype(np.float32)
    predicted, values = outputs.argmax(axis=1), values_of(READER, outputs, targets)
    assert values == {
        "quadratic_kappa": pytest.approx(cohen_kappa_score(targets, predicted, weights="quadratic")),
        "mean_absolute_grade_error": pytest.approx(READER.errors(outputs, targets).mean()),
        "within_one_accuracy": pytest.approx((np.abs(predicted - targets) <= 1).mean()),
    }
    assert READER.headline == "quadratic_kappa"


def test_tables_hold_what_is_scored():
    rows = [
        {"label": label, "score:none": low, "score:mild": "", "score:severe": high}
        for label, low, high in (("severe", "0.25", "0.75"), ("none", "1", ""))
    ]
    targets, outputs = READER.parse_targets(rows), READER.parse_rows(rows)
    assert targets.tolist() == [2, 0]
    assert READER.decide(outputs).tolist() == [2, 0]
    assert READER.probabilities(outputs).tolist() == [pytest.approx([0.25, 0, 0.75]), [1, 0, 0]]
    assert values_of(READER, outputs, targets)["quadratic_kappa"] == 1
    for invalid, message in (({}, "no column score:none"), (rows[0] | {"score:none": "-1"}, "not hold probabilities")):
        with pytest.raises(ValueError, match=message):
            READER.parse_rows([invalid])


def test_rows_are_those_of_classification():
    """Grades are ranked by their probability, which the temperature calibrates."""
    first, second = 1 / (1 + np.exp(-0.5) + np.exp(-1)), np.exp(-0.5) / (1 + np.exp(-0.5) + np.exp(-1))
    assert READER.rows(OUTPUTS[:1], limit=2) == [
        {
            "prediction": "none",
            "confidence": f"{first:.6f}",
            "prediction_2": "severe",
            "confidence_2": f"{second:.6f}",
        }
    ]
    assert READER.target_rows(np.array([2])) == [{"label": "severe"}]
