"""Holm's correction of known p-values."""

import pytest

from leyden.statistics.holm import adjust_p_values


def test_known_p_values():
    assert adjust_p_values([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_no_p_values():
    assert adjust_p_values([]) == []
