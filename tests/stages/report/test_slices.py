"""The properties that slices are by, in prose."""

import pytest

from leyden.stages.report.slices import Slices
from tests.stages.report.fake_results import make_slice


@pytest.mark.parametrize(
    ("by", "name", "expected"),
    [
        ("class", "present", "class"),
        ("class my_road", "present", "the presence of my_road"),
        ("label label one", "absent", "the presence of label one"),
        ("true label one", "1 to 2", "true label one"),
        ("shorter_side", "8 to 9", "shorter side"),
        ("group", "present", "group"),
    ],
)
def test_what_slices_are_by_is_written_as_words(by: str, name: str, expected: str) -> None:
    assert Slices([make_slice(by, name, 9, 0.5, "")], "image").properties == expected
