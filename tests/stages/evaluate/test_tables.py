"""Metrics of each class, accuracy by confidence; mistakes and confusions in order."""

import numpy as np
import pytest
import torch

from leyden.stages.evaluate.tables import (
    CALIBRATION_COLUMNS,
    PER_CLASS_COLUMNS,
    calibration_table,
    list_confusions,
    list_mistakes,
    per_class_table,
)
from tests.stages.evaluate.fake_predictions import make_predictions


def test_metrics_of_classes_and_blanks_where_they_are_undefined():
    rows = per_class_table(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]), ["a", "b", "c"], 0.95)
    assert all(tuple(row) == PER_CLASS_COLUMNS for row in rows)
    assert rows[0]["count"] == 4
    assert rows[0]["precision"] == 1
    assert rows[0]["recall"] == 0.75
    assert rows[0]["f1"] == pytest.approx(6 / 7)
    assert 0.2 < rows[0]["recall_low"] < 0.75 < rows[0]["recall_high"] < 0.99
    assert rows[1]["recall"] == rows[1]["recall_low"] == ""
    assert rows[1]["precision"] == 0
    assert rows[2]["f1"] == ""


def test_accuracy_by_bin_of_confidence():
    rows = calibration_table(torch.tensor([0.95, 0.93, 0.6, 1.0]), torch.tensor([True, False, True, True]))
    assert all(tuple(row) == CALIBRATION_COLUMNS for row in rows)
    assert [(row["count"], round(row["accuracy"], 3)) for row in rows] == [(1, 1.0), (3, 0.667)]


def test_the_most_confident_mistakes_come_first():
    probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.05, 0.9, 0.05], [0.2, 0.2, 0.6]])
    rows = list_mistakes(make_predictions(probabilities, torch.tensor([1, 1, 0, 2])))
    assert [(row["path"], row["label"], row["prediction"]) for row in rows] == [
        ("2.png", "a", "b"),
        ("0.png", "b", "a"),
    ]
    assert rows[0]["confidence"] == "0.900000"
    assert rows[0]["label_probability"] == "0.050000"


def test_the_most_frequent_confusions_come_first():
    rows = list_confusions(np.array([[8, 2, 0], [1, 6, 3], [0, 0, 5]]), ["a", "b", "c"])
    assert [(row["label"], row["prediction"], row["count"], row["share_of_label"]) for row in rows] == [
        ("b", "c", 3, 0.3),
        ("a", "b", 2, 0.2),
        ("b", "a", 1, 0.1),
    ]
