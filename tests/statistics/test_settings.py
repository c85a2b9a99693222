"""Checks of the settings of intervals."""

import pytest

from leyden.errors import UserError
from leyden.statistics.settings import check_confidence_level


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, float("nan")])
def test_a_confidence_level_outside_0_to_1_is_an_error(level):
    with pytest.raises(UserError, match=rf"evaluate.confidence_level must lie in \(0, 1\); got {level}; set it"):
        check_confidence_level(level, "evaluate")


def test_a_confidence_level_inside_0_to_1_is_accepted():
    check_confidence_level(0.95, "evaluate")
