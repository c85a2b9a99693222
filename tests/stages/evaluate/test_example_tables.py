"""Tables of any task: predictions, the largest errors, measures, and those of each label."""

import numpy as np
import pytest

from leyden.outputs.multilabel import MultilabelReader
from leyden.outputs.regression import RegressionReader
from leyden.stages.evaluate.example_tables import list_measures, list_per_label, rank_errors, tabulate_examples
from leyden.stages.evaluate.reliability import RELIABILITY_COLUMNS, reliability_table
from leyden.stages.evaluate.scored_split import ScoredSplit, as_metrics, estimate


def score(reader, outputs: np.ndarray, targets: np.ndarray) -> ScoredSplit:
    paths = [f"{number}.png" for number in range(len(outputs))]
    errors, measures = reader.errors(outputs, targets), reader.measures(outputs, targets)
    return ScoredSplit(paths, targets, reader.rows(outputs, 3), errors, measures, outputs)


def test_the_largest_errors_come_first_and_right_predictions_are_none():
    reader = RegressionReader(["angle"])
    test = score(reader, np.array([[1.0], [2], [3], [4]]), np.array([[1.0], [5], [3.5], [4]]))
    tables = tabulate_examples(reader, test, 3)
    assert tables["predictions.csv"].columns == ("path", "true_angle", "angle", "error")
    assert list(tables["predictions.csv"].rows)[1] == {
        "path": "1.png",
        "true_angle": "5",
        "angle": "2",
        "error": "3",
    }
    assert [row["path"] for row in tables["errors/largest.csv"].rows] == ["1.png", "2.png"]
    assert rank_errors(np.array([0.0, 1, np.nan, 1])) == [1, 3]
    unknown = tabulate_examples(reader, test._replace(errors=np.array([np.nan, 1, 0, 0])), 3)
    assert [row["error"] for row in unknown["predictions.csv"].rows] == ["", "1", "0", "0"]


def test_measures_have_intervals_and_directions():
    reader = RegressionReader(["angle"])
    generator = np.random.default_rng(0)
    targets = generator.normal(size=(50, 1))
    test = score(reader, targets + generator.normal(size=(50, 1)), targets)
    estimates = estimate(test.measures, 200, 0.95, 0)
    rows = list(list_measures(estimates).rows)
    assert [(row["measure"], row["higher_is_better"]) for row in rows] == [
        ("mae", False),
        ("rmse", False),
        ("r2", True),
        ("median_absolute_error", False),
    ]
    assert all(row["low"] < row["value"] < row["high"] for row in rows)
    metrics = as_metrics(estimates)
    assert metrics["mae"] == rows[0]["value"]
    assert (metrics["mae_low"], metrics["mae_high"]) == (rows[0]["low"], rows[0]["high"])
    assert list(list_per_label(estimates, ["angle"]).rows) == []


def test_a_measure_without_an_interval_keeps_its_value():
    reader = RegressionReader(["angle"])
    metrics = as_metrics(estimate(score(reader, np.array([[1.0]]), np.array([[3.0]])).measures, 200, 0.95, 0))
    assert metrics == {"mae": 2, "rmse": 2, "median_absolute_error": 2}  # r2 of one example is undefined


def test_each_label_has_a_row():
    reader = MultilabelReader(["a/b", "c"])
    outputs = np.array([[3.0, -1], [2, 1], [-2, 2], [1, -3]])
    targets = np.array([[1, 0], [1, 1], [0, 0], [0, 0]], np.uint8)
    test = score(reader, outputs, targets)
    table = list_per_label(estimate(test.measures, 200, 0.95, 0), reader.labels)
    assert table.columns[:4] == ("label", "average_precision", "average_precision_low", "average_precision_high")
    rows = list(table.rows)
    assert [row["label"] for row in rows] == ["a/b", "c"]
    assert rows[0]["precision"] == pytest.approx(2 / 3)
    assert rows[0]["recall"] == 1
    assert rows[1]["f1"] == pytest.approx(2 / 3)


def test_reliability_of_each_label():
    probabilities = np.array([[0.05, 0.95], [0.07, 1.0], [0.42, 0.91]])
    targets = np.array([[0, 1], [1, 1], [1, 0]], np.uint8)
    rows = reliability_table(probabilities, targets, ["a", "b"])
    assert all(tuple(row) == RELIABILITY_COLUMNS for row in rows)
    assert [(row["label"], row["count"], round(row["fraction"], 3)) for row in rows] == [
        ("a", 2, 0.5),
        ("a", 1, 1.0),
        ("b", 3, 0.667),
    ]
    assert rows[0]["probability"] == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("reader", "outputs"),
    [
        (RegressionReader(["x", "y"], radius=[1.0, 2.0]), np.array([[1.5, -2e-7], [1e6, 0]])),
        (MultilabelReader(["x", "y"], temperatures=[0.5, 2.0]), np.array([[1.5, -0.25], [2.0, 0]])),
        (MultilabelReader(["x", "y"]), np.array([[np.log(1e-7), np.log(1e7)]])),  # "0.000000" and "1.000000"
    ],
)
def test_outputs_are_read_from_the_rows_of_a_table(reader, outputs):
    rows = reader.rows(outputs, 3)
    assert reader.parse_rows(rows) == pytest.approx(outputs, rel=1e-3, abs=1e-4)
    with pytest.raises(ValueError, match="there is no column"):
        reader.parse_rows([{"path": "a.png"}])
    column = next(column for column in reversed(reader.columns(3)) if not column.endswith(("_low", "_high")))
    for cell in ("nan", "inf", "-inf", *(["-0.1", "1.1"] if reader.has_label_set else [])):
        with pytest.raises(ValueError, match=r"a prediction is not a finite number|a cell is not a probability"):
            reader.parse_rows([rows[0] | {column: cell}])
