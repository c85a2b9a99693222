"""The tests of two models on the same examples."""

import itertools

import numpy as np
import pytest

from leyden.statistics.mcnemar import compare_paired, mcnemar_p_value


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (3, 3), (2, 9), (9, 2), (0, 6)])
def test_mcnemar_counts_the_coin_throws(lost, gained):
    total, few = lost + gained, min(lost, gained)
    uneven = sum(min(sum(throw), total - sum(throw)) <= few for throw in itertools.product((0, 1), repeat=total))
    assert mcnemar_p_value(lost, gained) == pytest.approx(uneven / 2**total)


def test_mcnemar_of_many():
    assert mcnemar_p_value(5000, 5200) == pytest.approx(
        0.0487, abs=5e-4
    )  # the normal approximation with continuity correction: 0.0488
    assert np.isfinite(mcnemar_p_value(0, 100_000))


def test_changes_of_known_pairs():
    old, new = np.array([True] * 80 + [False] * 20), np.array([True] * 70 + [False] * 25 + [True] * 5)
    found = compare_paired(old, new, 2000, 0.95, 0)
    assert (found["lost"], found["gained"], found["examples"]) == (10, 5, 100)
    assert (
        found["accuracy_change"] == pytest.approx(-0.05) == pytest.approx(found["accuracy_new"] - found["accuracy_old"])
    )
    assert (
        -0.14 < found["accuracy_change_low"] < -0.1 and 0 < found["accuracy_change_high"] < 0.04
    )  # the deviation is 0.038
    same = compare_paired(old, old, 100, 0.95, 0)
    assert same["accuracy_change"] == same["accuracy_change_low"] == same["accuracy_change_high"] == 0
