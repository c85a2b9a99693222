"""Scores are right, and their intervals honest."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from leyden.cli import main
from leyden.data.packed import read_paths
from leyden.stages.evaluate import class_table, confusion_scores, intervals_of, reliability, score, wilson

CONFUSION = np.array([[8, 2, 0], [1, 9, 0], [0, 5, 5]])


def test_scores_of_a_known_confusion_matrix():
    scores = confusion_scores(CONFUSION[None])
    assert scores["accuracy"][0] == pytest.approx(22 / 30)
    assert scores["balanced_accuracy"][0] == pytest.approx((0.8 + 0.9 + 0.5) / 3)
    assert scores["macro_f1"][0] == pytest.approx((16 / 19 + 18 / 26 + 10 / 15) / 3)


def test_an_absent_class_does_not_enter_the_means():
    scores = confusion_scores(np.array([[[4, 0, 0], [0, 4, 0], [0, 0, 0]]]))
    assert scores["balanced_accuracy"][0] == scores["macro_f1"][0] == 1


def test_scores_agree_with_torchmetrics():
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(500, 7, generator=generator), torch.randint(0, 7, (500,), generator=generator)
    figures = score(logits, labels, top_k=3)
    assert figures["accuracy"] == pytest.approx(float(multiclass_accuracy(logits, labels, 7, average="micro")))
    assert figures["balanced_accuracy"] == pytest.approx(float(multiclass_accuracy(logits, labels, 7, average="macro")))
    assert figures["macro_f1"] == pytest.approx(float(multiclass_f1_score(logits, labels, 7, average="macro")))
    assert figures["top_3_accuracy"] == pytest.approx(float((logits.topk(3).indices == labels[:, None]).any(1).float().mean()))
    assert figures["log_loss"] == pytest.approx(float(-logits.log_softmax(1)[range(500), labels].mean()))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    truth, hits = 0.9, {"accuracy": 0, "balanced_accuracy": 0}
    for trial in range(200):
        right = generator.binomial(100, truth, size=2)
        found = intervals_of(np.array([[right[0], 100 - right[0]], [100 - right[1], right[1]]]), 500, 0.9, trial)
        for name in hits:
            hits[name] += found[name][0] <= truth <= found[name][1]
    assert all(0.83 < count / 200 < 0.96 for count in hits.values()), hits


def test_a_perfect_score_still_has_a_lower_bound():
    found = intervals_of(np.diag([50, 50]), 100, 0.95, 0)
    assert list(found) == ["accuracy"] and found["accuracy"] == pytest.approx((0.963, 1), abs=1e-3)
    assert wilson(0, 10, 0.95)[0] == pytest.approx(0, abs=1e-12)


def test_same_seed_same_interval():
    assert intervals_of(CONFUSION, 200, 0.95, 1) == intervals_of(CONFUSION, 200, 0.95, 1) != intervals_of(CONFUSION, 200, 0.95, 2)


def test_class_table_leaves_out_what_has_no_example():
    rows = class_table(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert rows[0] == {"label": "a", "count": 4, "precision": 1.0, "recall": 0.75, "f1": pytest.approx(6 / 7)}
    assert rows[1]["recall"] == "" and rows[1]["precision"] == 0 and rows[2]["f1"] == ""


def test_reliability_bins():
    rows = reliability(torch.tensor([[0.95, 0.05], [0.93, 0.07], [0.4, 0.6], [1.0, 0.0]]), torch.tensor([0, 1, 1, 0]))
    assert [(row["count"], round(row["accuracy"], 3)) for row in rows] == [(1, 1.0), (3, 0.667)]


def test_every_test_example_is_predicted_and_the_files_agree(in_trained, tmp_path):
    assert main(["evaluate", "--out", str(tmp_path / "out")]) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    with open(tmp_path / "out/predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == read_paths("artifacts/prepare", "test") and len(rows) == metrics["examples"] == 350
    assert all(Path(row["path"]).parts[0] == row["label"] for row in rows)
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert metrics["accuracy"] == pytest.approx(right / 350) and metrics["errors"] == 350 - right
    assert metrics["accuracy_low"] < metrics["accuracy"] <= metrics["accuracy_high"]
    scores = np.array([[float(row[f"score:{label}"]) for label in "0123456789"] for row in rows])
    assert np.allclose(scores.sum(1), 1, atol=1e-4)
    assert all(float(row["confidence"]) == pytest.approx(top, abs=1e-6) for row, top in zip(rows, scores.max(1), strict=True))
    assert (tmp_path / "out/confusion.png").read_bytes().startswith(b"\x89PNG")


def test_prediction_of_a_file_is_its_evaluation(in_trained, tmp_path):
    """`leyden predict` reads the file as `leyden prepare` did."""
    assert main(["evaluate", "--out", str(tmp_path / "out")]) == 0
    assert main(["predict", "artifacts/train/model.ckpt", "data", "--out", str(tmp_path / "p.csv")]) == 0
    found = []
    for name in ("out/predictions.csv", "p.csv"):
        with open(tmp_path / name, newline="", encoding="utf-8") as file:
            found.append({Path(row["path"]).name: (row["prediction"], float(row["confidence"])) for row in csv.DictReader(file)})
    assert len(found[1]) == 1797
    for name, (label, confidence) in found[0].items():
        assert found[1][name] == (label, pytest.approx(confidence, abs=1e-4))


def test_mistakes(in_trained, error_of, tmp_path, shapes):
    assert "run `leyden fit` first" in error_of("evaluate", "--model=nope.ckpt")
    assert "confidence_level must lie in (0, 1); got 2" in error_of("evaluate", "--confidence_level=2", "--out", str(tmp_path / "out"))
    assert main(["prepare", "--data", str(shapes), "--out", str(tmp_path / "shapes-packed")]) == 0
    line = error_of("evaluate", "--data", str(tmp_path / "shapes-packed"), "--out", str(tmp_path / "out"))
    assert "expected a model of the labels big triangle, carré, cercle; " in line and not (tmp_path / "out").exists()
