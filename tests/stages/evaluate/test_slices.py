"""Slices on which the model is worse are found; noise is not."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from leyden.stages.evaluate.slices import SLICE_COLUMNS, list_slices, slices_by_quantile
from tests.stages.evaluate.fake_predictions import make_predictions


def write_manifest(folder: Path, groups: list[str]) -> None:
    np.save(folder / "test.images.npy", np.arange(len(groups), dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(16, 1))
    np.save(folder / "test.labels.npy", np.zeros(len(groups), np.int64))
    (folder / "report.json").write_text('{"input": {"image_size": [16, 1], "channels": 1}}')
    with open(folder / "manifest.csv", "w", newline="") as file:
        rows = [[f"{n}.png", "a", "test", "", group, 20 + n // 50, 30] for n, group in enumerate(groups)]
        csv.writer(file).writerows([["path", "label", "split", "sha256", "group", "height", "width"], *rows])


def test_a_weak_slice_is_found_and_noise_is_not(tmp_path):
    """Of 200 examples, half of the 30 in one group are errors, and one in twenty of the others."""
    groups = ["camera 1"] * 30 + ["camera 2"] * 85 + ["camera 3"] * 80 + ["once"] * 5
    order = np.random.default_rng(0).permutation(200)
    write_manifest(tmp_path, [groups[row] for row in order])
    is_error = np.array([number % 2 == 0 if number < 30 else number % 20 == 0 for number in range(200)])[order]
    probabilities = torch.tensor([[0.2, 0.8, 0.0] if each else [0.8, 0.2, 0.0] for each in is_error]).clamp(min=1e-6)
    predictions = make_predictions(probabilities, torch.zeros(200, dtype=torch.long))
    rows = list_slices(predictions, tmp_path, 0.95)
    assert all(tuple(row) == SLICE_COLUMNS for row in rows)
    assert [(row["by"], row["slice"]) for row in rows if row["falls_short"]] == [("group", "camera 1")]
    assert rows[0]["count"] == 30
    assert rows[0]["errors"] == 15
    assert rows[0]["accuracy_low"] < 0.5 < rows[0]["accuracy_high"]
    assert {row["by"] for row in rows} == {"class", "group", "brightness", "shorter_side"}
    assert "once" not in {row["slice"] for row in rows}
    sides = [row for row in rows if row["by"] == "shorter_side"]
    assert sum(row["count"] for row in sides) == 200
    assert {"20 to 20", "23 to 23"} <= {row["slice"] for row in sides}


def test_slices_of_a_number_have_similar_counts():
    counts = [is_in_slice.sum() for _, _, is_in_slice in slices_by_quantile("x", np.arange(100))]
    assert sum(counts) == 100
    assert all(20 <= count <= 30 for count in counts)


@pytest.mark.parametrize(("values", "max_slices"), [([1] * 90 + [2] * 10, 2), ([1] * 10, 0)])
def test_equal_numbers_are_in_one_slice(values, max_slices):
    assert len(list(slices_by_quantile("x", np.array(values)))) <= max_slices
