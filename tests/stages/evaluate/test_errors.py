"""Mistakes, wrong labels that were planted, and slices that were made weak are found; noise is not."""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from leyden.stages.evaluate.mistakes import list_confusions, list_mistakes, list_suspects
from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.slices import by_number, fisher, holm, list_slices


def make(probabilities: torch.Tensor, labels: torch.Tensor) -> Predictions:
    return Predictions([f"{number}.png" for number in range(len(labels))], ["a", "b", "c"], labels, probabilities.log())


def test_mistakes_come_with_the_surest_first():
    found = make(
        torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.05, 0.9, 0.05], [0.2, 0.2, 0.6]]), torch.tensor([1, 1, 0, 2])
    )
    rows = list_mistakes(found)
    assert [(row["path"], row["label"], row["prediction"]) for row in rows] == [
        ("2.png", "a", "b"),
        ("0.png", "b", "a"),
    ]
    assert rows[0]["confidence"] == "0.900000" and rows[0]["label_probability"] == "0.050000"


def test_confused_pairs_come_with_the_most_frequent_first():
    rows = list_confusions(np.array([[8, 2, 0], [1, 6, 3], [0, 0, 5]]), ["a", "b", "c"])
    assert [(row["label"], row["prediction"], row["count"], row["share_of_label"]) for row in rows] == [
        ("b", "c", 3, 0.3),
        ("a", "b", 2, 0.2),
        ("b", "a", 1, 0.1),
    ]


def test_planted_labels_are_suspected():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (300,), generator=generator)
    probabilities = (4 * torch.nn.functional.one_hot(truth, 3) + torch.randn(300, 3, generator=generator)).softmax(1)
    labels = truth.clone()
    labels[:20] = (labels[:20] + 1) % 3
    rows = list_suspects(make(probabilities, labels), "test")
    found = {int(row["path"].removesuffix(".png")) for row in rows}
    assert len(found & set(range(20))) >= 12 and len(found - set(range(20))) <= 3
    assert (
        all(row["suggested"] == "abc"[truth[int(row["path"][:-4])]] for row in rows[:10]) and rows[0]["split"] == "test"
    )
    margins = [float(row["suggested_probability"]) - float(row["label_probability"]) for row in rows]
    assert margins == sorted(margins, reverse=True)


def test_a_class_that_is_mixed_up_by_a_cautious_model_is_not_suspected():
    """Thresholds are each class's own mean confidence: of one that is never sure, half-sureness says something; of a sure one, not."""
    probabilities = torch.tensor([[0.99, 0.01, 0.0]] * 5 + [[0.3, 0.4, 0.3]] * 5 + [[0.55, 0.45, 0.0]])
    rows = list_suspects(make(probabilities.clamp(min=1e-6), torch.tensor([0] * 5 + [1] * 5 + [1])), "val")
    assert rows == []


def write_manifest(folder: Path, groups: list[str]) -> None:
    np.save(folder / "test.images.npy", np.arange(len(groups), dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(16, 1))
    np.save(folder / "test.labels.npy", np.zeros(len(groups), np.int64))
    (folder / "report.json").write_text('{"input": {"image_size": [16, 1], "channels": 1}}')
    with open(folder / "manifest.csv", "w", newline="") as file:
        rows = [[f"{n}.png", "a", "test", "", group, 20 + n // 50, 30] for n, group in enumerate(groups)]
        csv.writer(file).writerows([["path", "label", "split", "sha256", "group", "height", "width"], *rows])


def test_a_weak_slice_is_found_and_noise_is_not(tmp_path):
    """Of 200 examples the 30 of one group are wrong half the time, the others one time in twenty."""
    groups = ["camera 1"] * 30 + ["camera 2"] * 85 + ["camera 3"] * 80 + ["once"] * 5
    generator = np.random.default_rng(0)
    order = generator.permutation(200)
    write_manifest(tmp_path, [groups[row] for row in order])
    wrong = np.array([number % 2 == 0 if number < 30 else number % 20 == 0 for number in range(200)])[order]
    probabilities = torch.tensor([[0.2, 0.8, 0.0] if each else [0.8, 0.2, 0.0] for each in wrong]).clamp(min=1e-6)
    rows = list_slices(make(probabilities, torch.zeros(200, dtype=torch.long)), tmp_path, 0.95)
    assert [(row["by"], row["slice"]) for row in rows if row["falls_short"]] == [("group", "camera 1")]
    assert (
        rows[0]["count"] == 30 and rows[0]["errors"] == 15 and rows[0]["accuracy_low"] < 0.5 < rows[0]["accuracy_high"]
    )
    assert {row["by"] for row in rows} == {"class", "group", "brightness", "shorter_side"} and "once" not in {
        row["slice"] for row in rows
    }
    sides = [row for row in rows if row["by"] == "shorter_side"]
    assert sum(row["count"] for row in sides) == 200 and {"20 to 20", "23 to 23"} <= {row["slice"] for row in sides}


def test_parts_of_a_number_have_like_counts_and_equal_values_stay_together():
    parts = [rows.sum() for _, _, rows in by_number("x", np.arange(100))]
    assert sum(parts) == 100 and all(20 <= count <= 30 for count in parts)
    assert len(list(by_number("x", np.array([1] * 90 + [2] * 10)))) <= 2 and not list(by_number("x", np.ones(10)))


@pytest.mark.parametrize(
    ("errors", "count", "all_errors", "total"), [(2, 4, 3, 8), (0, 3, 2, 6), (3, 3, 3, 7), (1, 5, 1, 9)]
)
def test_fisher_counts_all_ways(errors, count, all_errors, total):
    ways = sum(
        sum(row < all_errors for row in chosen) >= errors for chosen in itertools.combinations(range(total), count)
    )
    assert fisher(errors, count, all_errors, total) == pytest.approx(ways / math.comb(total, count))


def test_holm_of_known_p_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02]) and holm([]) == []
