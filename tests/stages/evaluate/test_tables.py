"""Metrics of each class, and accuracy by confidence."""

import numpy as np
import pytest
import torch

from leyden.stages.evaluate.tables import CALIBRATION_COLUMNS, PER_CLASS_COLUMNS, calibration_table, per_class_table


def test_metrics_of_classes_and_blanks_where_they_are_undefined():
    rows = per_class_table(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]), ["a", "b", "c"], 0.95)
    assert all(tuple(row) == PER_CLASS_COLUMNS for row in rows)
    assert rows[0]["count"] == 4
    assert rows[0]["precision"] == 1
    assert rows[0]["recall"] == 0.75
    assert rows[0]["f1"] == pytest.approx(6 / 7)
    assert 0.3 < rows[0]["recall_low"] < 0.75 < rows[0]["recall_high"] < 0.96
    assert rows[1]["recall"] == rows[1]["recall_low"] == ""
    assert rows[1]["precision"] == 0
    assert rows[2]["f1"] == ""


def test_accuracy_by_bin_of_confidence():
    rows = calibration_table(torch.tensor([0.95, 0.93, 0.6, 1.0]), torch.tensor([True, False, True, True]))
    assert all(tuple(row) == CALIBRATION_COLUMNS for row in rows)
    assert [(row["count"], round(row["accuracy"], 3)) for row in rows] == [(1, 1.0), (3, 0.667)]
