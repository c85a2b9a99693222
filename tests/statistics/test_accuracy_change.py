"""The change of the accuracy: independent examples, and whole groups."""

import numpy as np
import pytest

from leyden.statistics.accuracy_change import compare_paired
from leyden.statistics.mcnemar import mcnemar_p_value


def test_comparison_of_known_pairs():
    old, new = np.array([True] * 80 + [False] * 20), np.array([True] * 70 + [False] * 25 + [True] * 5)
    comparison = compare_paired(old, new, 0.95)
    assert (comparison["lost"], comparison["gained"], comparison["examples"]) == (10, 5, 100)
    assert comparison["accuracy_change"] == pytest.approx(-0.05)
    assert comparison["accuracy_new"] - comparison["accuracy_old"] == pytest.approx(-0.05)
    assert comparison["accuracy_change_p_value"] == mcnemar_p_value(10, 5)
    assert "groups" not in comparison
    # 11 lost and 6 gained of 102 make a change of -0.0490 with a standard error of sqrt((17 / 102 - 0.049^2) / 102).
    assert comparison["accuracy_change_low"] == pytest.approx(-0.0490 - 1.96 * 0.0401, abs=1e-4)
    assert comparison["accuracy_change_high"] == pytest.approx(-0.0490 + 1.96 * 0.0401, abs=1e-4)


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(20), 5)])
def test_a_model_does_not_differ_from_itself(groups):
    correct = np.array([True] * 80 + [False] * 20)
    comparison = compare_paired(correct, correct, 0.95, groups)
    assert comparison["accuracy_change"] == 0
    assert comparison["accuracy_change_p_value"] == 1
    assert -0.25 < comparison["accuracy_change_low"] < 0 < comparison["accuracy_change_high"] < 0.25


def test_examples_of_one_group_count_as_one():
    """Three scenes of 20 alike examples are lost: significant as 60 examples, not as three of 40 scenes."""
    groups = np.repeat(np.arange(40), 20)
    old, new = np.ones(800, bool), groups >= 3
    independent, grouped = compare_paired(old, new, 0.95), compare_paired(old, new, 0.95, groups, num_resamples=2000)
    assert grouped["groups"] == 40
    assert independent["accuracy_change"] == grouped["accuracy_change"] == -0.075
    assert independent["accuracy_change_p_value"] < 1e-9
    assert 0.05 < grouped["accuracy_change_p_value"] < 0.2
    # The standard error of a mean of 40 values, 3 of them -1.
    width = grouped["accuracy_change_high"] - grouped["accuracy_change_low"]
    assert width == pytest.approx(2 * 2.02 * (0.075 * 0.925 / 39) ** 0.5, rel=0.05)
