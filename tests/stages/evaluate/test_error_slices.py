"""Slices on which predictions are further from the truth are found; noise is not."""

import numpy as np
import pytest

from leyden.outputs import load_reader
from leyden.outputs.regression import RegressionReader
from leyden.stages.evaluate.error_slices import ERROR_SLICE_COLUMNS, describe_error, list_error_slices
from leyden.stages.evaluate.properties import find_labels, list_target_properties
from leyden.stages.evaluate.slices import summarise_slices


def list_by_group(errors: np.ndarray, groups: list[str], num_draws: int = 2000) -> list[dict]:
    return list_error_slices(errors, [("group", np.array(groups))], 0.95, num_draws, 0)


def test_a_weak_slice_is_found_and_others_are_not():
    groups = ["a"] * 30 + ["b"] * 85 + ["c"] * 80 + ["once"]
    errors = np.random.default_rng(0).exponential(1.0, 196)
    errors[:30] += 1.0
    rows = list_by_group(errors, groups)
    assert all(tuple(row) == ERROR_SLICE_COLUMNS for row in rows)
    assert [row["slice"] for row in rows if row["falls_short"] is True] == ["a"]
    assert rows[0]["slice"] == "a"
    assert rows[0]["count"] == 30
    assert rows[0]["mean_error"] == pytest.approx(errors[:30].mean())
    assert 0 < rows[0]["mean_error_low"] < rows[0]["mean_error"] < rows[0]["mean_error_high"]
    assert rows[-1] | {"mean_error": 0} == {
        "by": "group",
        "slice": "once",
        "count": 1,
        "mean_error": 0,
        **dict.fromkeys(("mean_error_low", "mean_error_high", "p_value", "falls_short"), ""),
    }
    assert summarise_slices(rows, describe_error).startswith("falls short on group a (mean error ")


def test_examples_of_unknown_error_belong_to_no_slice():
    errors, groups = np.arange(40) % 7.0, ["a"] * 20 + ["b"] * 20
    unknown = list_by_group(np.append(errors, [np.nan, np.nan]), [*groups, "a", "unknown"])
    assert unknown == list_by_group(errors, groups)
    assert list_by_group(np.full(4, np.nan), ["a", "a", "b", "b"]) == []


def test_no_slice_falls_short_without_errors_or_differences():
    assert list_by_group(np.zeros(60), ["a"] * 60) == []
    rows = list_by_group(np.zeros(60), ["a"] * 30 + ["b"] * 30)
    assert {row["falls_short"] for row in rows} == {False}
    assert {row["p_value"] for row in rows} == {1.0}
    assert {row["mean_error_high"] for row in rows} == {0.0}


def test_noise_alone_makes_a_slice_fall_short_in_at_most_one_of_twenty_test_splits():
    """100 splits of 20 groups with 10 errors each, of a distribution with a long tail."""
    generator = np.random.default_rng(0)
    groups = [f"group {number // 10}" for number in range(200)]
    found = sum(
        any(row["falls_short"] is True for row in list_by_group(generator.lognormal(0, 1.5, 200), groups))
        for _ in range(100)
    )
    assert 0 < found <= 9  # of a binomial distribution with a mean of 5, fewer than 1 in 20 are larger


def test_examples_are_sliced_by_their_true_numbers_and_labels():
    reader = RegressionReader(["angle"])
    ((by, names),) = list_target_properties(reader, np.arange(40.0, dtype=np.float32)[:, None])
    assert by == "true angle"
    assert names[0] == "0 to 9"
    assert len(set(names)) == 4
    masks = np.array([[[0, 0], [2, 255]], [[1, 1], [1, 1]]], np.uint8)
    assert find_labels(masks, 3).tolist() == [[True, False, True], [False, True, False]]


def test_slices_by_label_have_the_word_of_the_task():
    sets = load_reader({"labels": ["cat", "dog"], "task": {"name": "multilabel"}})
    masks = load_reader({"labels": ["sky", "road"], "task": {"name": "segmentation"}})
    (by, names), _ = list_target_properties(sets, np.array([[1, 0], [0, 0]], np.uint8))
    assert (by, names.tolist()) == ("label cat", ["present", "absent"])
    _, (by, names) = list_target_properties(masks, np.array([[[0, 0]], [[0, 1]]], np.uint8))
    assert (by, names.tolist()) == ("class road", ["absent", "present"])
