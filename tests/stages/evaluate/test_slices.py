"""Slices on which the model is worse are found; noise is not."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from leyden.stages.evaluate.properties import cut_at_quantiles
from leyden.stages.evaluate.slices import SLICE_COLUMNS, list_slices, summarise_slices
from tests.stages.evaluate.fake_predictions import make_predictions


def write_manifest(folder: Path, groups: list[str]) -> None:
    np.save(folder / "test.images.npy", np.arange(len(groups), dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(16, 1))
    np.save(folder / "test.targets.npy", np.zeros(len(groups), np.int64))
    spec = {"image_size": [16, 1], "channels": 1, "mean": [0.5], "std": [0.2]}
    counts = {split: {"a": len(groups)} for split in ("train", "val", "test")}
    report = {"labels": ["a"], "input": spec, "counts": counts, "data_hash": "", "files": {}, "stored": "", "bytes": 0}
    (folder / "report.json").write_text(json.dumps(report))
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
    assert [(row["by"], row["slice"]) for row in rows if row["falls_short"] is True] == [("group", "camera 1")]
    assert rows[0]["count"] == 30
    assert rows[0]["errors"] == 15
    assert rows[0]["accuracy_low"] < 0.5 < rows[0]["accuracy_high"]
    assert {row["by"] for row in rows} == {"group", "brightness", "shorter_side"}  # all have the same label
    assert "once" in {row["slice"] for row in rows}
    sides = [row for row in rows if row["by"] == "shorter_side"]
    assert sum(row["count"] for row in sides) == 200
    assert {"20", "23"} <= {row["slice"] for row in sides}


def predict(labels: list[int], correct: list[bool]):
    """Make predictions of classes a, b, ...; an incorrect one is of the next class."""
    true, num_classes = torch.tensor(labels), max(labels) + 2
    predicted = torch.where(torch.tensor(correct), true, (true + 1) % num_classes)
    return make_predictions(torch.nn.functional.one_hot(predicted, num_classes) * 0.9 + 0.01, true)


def judge(folder: Path, labels: list[int], correct: list[bool], groups: list[str] | None = None) -> dict:
    """Return `falls_short` by property and slice."""
    write_manifest(folder, groups or [""] * len(labels))
    rows = list_slices(predict(labels, correct), folder, 0.95)
    return {(row["by"], row["slice"]): row["falls_short"] for row in rows}


def test_a_small_class_without_a_correct_prediction_falls_short(tmp_path):
    """None of 9 and of 5 correct is no accident where 8 of 10 others are; one example is too few to tell."""
    labels = [0] * 9 + [1] * 5 + [2] * 1 + [3] * 117
    correct = [False] * 15 + [number % 5 != 0 for number in range(117)]
    judged = judge(tmp_path, labels, correct)
    assert judged["class", "a"] is True
    assert judged["class", "b"] is True
    assert judged["class", "c"] == ""
    assert judged["class", "d"] is False


def test_slices_that_are_too_small_to_judge_do_not_weaken_the_tests(tmp_path):
    groups = ["camera"] * 9 + [f"group {number}" for number in range(191)]
    correct = [False] * 9 + [number % 4 != 0 for number in range(191)]
    judged = judge(tmp_path, [0] * 200, correct, groups)
    assert judged["group", "camera"] is True
    assert {judged["group", f"group {number}"] for number in range(191)} == {""}


def test_without_a_slice_that_is_large_enough_none_is_judged(tmp_path):
    judged = judge(tmp_path, [0, 1, 2, 3], [True, False, False, False])
    assert set(judged.values()) == {""}
    rows = list_slices(predict([0, 1, 2, 3], [True, False, False, False]), tmp_path, 0.95)
    assert summarise_slices(rows) == f"all {len(rows)} slices are too small to judge"


def test_a_property_that_is_the_same_for_all_examples_is_not_a_slice(tmp_path):
    judged = judge(tmp_path, [0] * 60, [number % 3 != 0 for number in range(60)], ["camera"] * 60)
    assert not {by for by, _ in judged} & {"class", "group"}


def test_examples_without_a_group_are_a_named_slice(tmp_path):
    judged = judge(tmp_path, [0] * 60, [number >= 30 for number in range(60)], [""] * 30 + ["camera"] * 30)
    assert judged["group", "(none)"] is True
    assert judged["group", "camera"] is False


@pytest.mark.parametrize(("num_small", "text"), [(1, "; 1 is too small to judge"), (2, "; 2 are too small to judge")])
def test_small_slices_are_counted(num_small, text):
    slices = [{"falls_short": False}] * 3 + [{"falls_short": ""}] * num_small
    assert summarise_slices(slices) == f"none of 3 slices falls short of the others by more than noise{text}"
    assert summarise_slices([]) == "there are no slices to compare"


def test_a_model_without_errors_has_no_weak_slice(tmp_path):
    judged = judge(tmp_path, [0] * 30 + [1] * 30, [True] * 60)
    assert set(judged.values()) == {False}


def test_noise_alone_makes_a_slice_fall_short_in_at_most_one_of_twenty_test_splits(tmp_path):
    """100 splits of 40 classes with 5 images each, of which any is an error with a probability of 0.3."""
    labels = [number % 5 for number in range(200)]
    groups = [f"group {number // 5}" for number in range(200)]
    errors = np.random.default_rng(0).random((100, 200)) < 0.3
    found = sum(True in judge(tmp_path, labels, list(~each), groups).values() for each in errors)
    assert found <= 9  # of a binomial distribution with a mean of 5, fewer than 1 in 20 are larger


def test_slices_of_a_number_have_similar_counts():
    ((_, names),) = cut_at_quantiles("x", np.arange(100))
    counts = np.unique(names, return_counts=True)[1]
    assert counts.sum() == 100
    assert all(20 <= count <= 30 for count in counts)


@pytest.mark.parametrize(("values", "num_slices"), [([1] * 90 + [2] * 10, 2), ([1] * 10, 0)])
def test_equal_numbers_are_in_one_slice(values, num_slices):
    assert sum(len(np.unique(names)) for _, names in cut_at_quantiles("x", np.array(values))) == num_slices
