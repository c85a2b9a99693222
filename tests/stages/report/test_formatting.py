"""Names and numbers in prose."""

from leyden.outputs.number_format import decimal
from leyden.stages.report.formatting import list_smallest, number_of


def test_names_that_are_too_many_are_examples_smallest_first() -> None:
    counts = {f"class {number}": 300 - number for number in range(242)}
    assert list_smallest(counts, 2) == "for example class 241 (59) and class 240 (60)"
    assert list_smallest({"ant": 3, "bee": 2}) == "ant (3) and bee (2)"
    totals = ((242, 242), (2, 2), (1, 1), (1, 9), (2, 9))
    assert [number_of(*total, "class", "classes") for total in totals] == [
        *("All 242 classes have", "Both classes have", "The only class has", "1 of 9 classes has"),
        "2 of 9 classes have",
    ]


def test_numbers_stay_beside_names_in_right_to_left_letters() -> None:
    assert list_smallest({"\u05db\u05dc\u05d1": 3, "ant": 2}) == "\u2068\u05db\u05dc\u05d1\u2069 (3) and ant (2)"


def test_a_number_that_is_rounded_to_0_is_not_written_as_0_with_many_digits() -> None:
    assert [decimal(value) for value in (0, 1e-9, 0.0004, 0.0000004, 0.12345)] == [
        *("0.000", "0.000", "0.0004", "0.000", "0.123")
    ]
