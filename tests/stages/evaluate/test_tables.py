"""Metrics of each class, accuracy by confidence; mistakes and confusions in order; planted wrong labels."""

import numpy as np
import pytest
import torch

from leyden.stages.evaluate.tables import (
    CALIBRATION_COLUMNS,
    PER_CLASS_COLUMNS,
    calibration_table,
    list_confusions,
    list_mistakes,
    list_suspects,
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


def test_planted_wrong_labels_are_suspected():
    generator = torch.Generator().manual_seed(0)
    true_labels = torch.randint(0, 3, (300,), generator=generator)
    logits = 4 * torch.nn.functional.one_hot(true_labels, 3) + torch.randn(300, 3, generator=generator)
    labels = true_labels.clone()
    labels[:20] = (labels[:20] + 1) % 3
    rows = list_suspects(make_predictions(logits.softmax(1), labels), "test")
    suspected = {int(row["path"].removesuffix(".png")) for row in rows}
    assert len(suspected & set(range(20))) >= 12
    assert len(suspected - set(range(20))) <= 3
    assert all(row["suggested"] == "abc"[true_labels[int(row["path"][:-4])]] for row in rows[:10])
    assert rows[0]["split"] == "test"
    margins = [float(row["suggested_probability"]) - float(row["label_probability"]) for row in rows]
    assert margins == sorted(margins, reverse=True)


def test_a_prediction_below_the_mean_confidence_of_its_class_is_no_suspicion():
    """Thresholds are each class's own: half confidence is much for a class of low confidence, and little for others."""
    probabilities = torch.tensor([[0.99, 0.01, 0.0]] * 5 + [[0.3, 0.4, 0.3]] * 5 + [[0.55, 0.45, 0.0]])
    labels = torch.tensor([0] * 5 + [1] * 5 + [1])
    assert list_suspects(make_predictions(probabilities.clamp(min=1e-6), labels), "val") == []
