"""Scores in words: their titles, values and changes, with units."""

import pytest

from leyden.outputs.score_format import format_change, format_value, score_title


@pytest.mark.parametrize(
    ("name", "value", "change"),
    [
        ("accuracy", "12.3%", "+12.3 points"),
        ("top_3_accuracy", "12.3%", "+12.3 points"),
        ("macro_precision", "12.3%", "+12.3 points"),
        ("coverage/width", "12.3%", "+12.3 points"),
        ("mae", "0.123 deg", "+0.123 deg"),
        ("rmse/width", "0.123 deg", "+0.123 deg"),
        ("mean_average_precision", "0.123", "+0.123"),
        ("r2", "0.123", "+0.123"),
    ],
)
def test_a_value_and_its_change_have_the_unit_of_the_metric(name: str, value: str, change: str) -> None:
    assert format_value(name, 0.1234, "deg") == value
    assert format_change(name, 0.1234, "deg") == change


def test_a_change_has_its_interval_behind_the_unit() -> None:
    assert format_change("mae", -0.5, "deg", (-1, 0.25)) == "-0.5 deg (-1 to +0.25)"
    assert format_change("accuracy", 0, interval=(-0.01, 0.01)) == "0 points (-1.0 to +1.0)"


def test_titles_are_words() -> None:
    assert [score_title(name) for name in ("mae", "balanced_accuracy", "noise_auroc", "jpeg_accuracy")] == [
        *("mean absolute error", "balanced accuracy", "noise auroc", "JPEG accuracy")
    ]
