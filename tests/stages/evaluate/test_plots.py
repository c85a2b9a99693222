"""What the plots draw: the numbers that they are given, and none that are undefined."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from leyden.stages.evaluate.number_plots import plot_predicted, plot_residuals
from leyden.stages.evaluate.plots import plot_calibration, plot_robustness
from leyden.stages.evaluate.reliability import RELIABILITY_COLUMNS, plot_reliability

PREDICTED, TRUE = np.array([[1.0, 20], [2, 50]]), np.array([[1.5, 20], [4, 30]])
ROWS = [  # the last one is undefined
    {"kind": kind, "strength": strength, "accuracy": value, "accuracy_low": low, "accuracy_high": high}
    for kind, strength, value, low, high in [
        ("noise", 0.05, 0.8, 0.7, 0.9),
        ("noise", 0.1, 0.6, 0.5, 0.7),
        ("blur", 1, 0.4, 0.3, 0.5),
        ("blur", 2, "", "", ""),
    ]
]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that calls a plot, and returns the x and y of the last line of each of its panels."""

    def draw(plot, *args, **settings) -> list[list[list[float]]]:
        figures = []
        monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
        plot(tmp_path / "plot.png", *args, **settings)
        return [np.asarray(axes.lines[-1].get_data(), float).tolist() for axes in figures[0].axes if axes.lines]

    return draw


def test_calibration_and_reliability_are_drawn_against_the_probability(lines):
    bins = [{"confidence": 0.3, "accuracy": 0.4}, {"confidence": 0.9, "accuracy": 0.7}]
    assert lines(plot_calibration, bins) == [[[0.3, 0.9], [0.4, 0.7]]]
    bins_of_labels = [("a", 0.12, 0.2, 30), ("a", 0.6, 0.5, 4), ("b", 0.16, 0.6, 10), ("b", 1.0, 1.0, 2)]
    rows = [dict(zip(RELIABILITY_COLUMNS, values, strict=True)) for values in bins_of_labels]
    pooled = [[pytest.approx(each) for each in line] for line in ([0.13, 0.6, 1.0], [0.3, 0.5, 1.0])]
    assert lines(plot_reliability, rows) == [pooled]


def test_robustness_starts_from_the_clean_score(lines):
    noise, blur = lines(plot_robustness, ROWS, "accuracy", 0.95, (0, 1))
    assert noise == [[0, 1, 2], [0.95, 0.8, 0.6]]
    assert blur == [[0, 1, 2], [0.95, 0.4, pytest.approx(np.nan, nan_ok=True)]]


def test_numbers_are_drawn_against_the_true_ones(lines):
    assert lines(plot_predicted, ["a", "b"], PREDICTED, TRUE) == [[[1.5, 4], [1, 2]], [[20, 30], [20, 50]]]
    assert lines(plot_residuals, ["a", "b"], PREDICTED, TRUE) == [[[1.5, 4], [-0.5, -2]], [[20, 30], [0, 20]]]
