"""Mistakes and confusions are listed in order; planted wrong labels are found."""

import numpy as np
import torch

from leyden.stages.evaluate.mistakes import list_confusions, list_mistakes, list_suspects
from leyden.stages.evaluate.predictions import Predictions


def make_predictions(probabilities: torch.Tensor, labels: torch.Tensor) -> Predictions:
    paths = [f"{number}.png" for number in range(len(labels))]
    return Predictions(paths, ["a", "b", "c"], labels, probabilities.log())


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
