"""Tables, and what a model does not answer."""

import numpy as np
import pytest
import torch

from leyden.stages.evaluate.abstention import abstain, find_threshold
from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.tables import class_table, reliability


def test_class_table_leaves_out_what_has_no_example():
    rows = class_table(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]), ["a", "b", "c"], 0.95)
    assert (
        rows[0]["count"] == 4
        and rows[0]["precision"] == 1
        and rows[0]["recall"] == 0.75
        and rows[0]["f1"] == pytest.approx(6 / 7)
    )
    assert 0.3 < rows[0]["recall_low"] < 0.75 < rows[0]["recall_high"] < 0.96
    assert rows[1]["recall"] == rows[1]["recall_low"] == "" and rows[1]["precision"] == 0 and rows[2]["f1"] == ""


def test_reliability_bins():
    rows = reliability(torch.tensor([0.95, 0.93, 0.6, 1.0]), torch.tensor([True, False, True, True]))
    assert [(row["count"], round(row["accuracy"], 3)) for row in rows] == [(1, 1.0), (3, 0.667)]


def make(confidence: list[float], right: list[bool]) -> Predictions:
    probabilities = torch.tensor([[sure, 1 - sure] for sure in confidence])
    return Predictions(
        [""] * len(right), ["a", "b"], torch.tensor([0 if each else 1 for each in right]), probabilities.log()
    )


def test_the_threshold_answers_as_often_as_the_precision_allows():
    found = make([0.95, 0.9, 0.85, 0.8, 0.7, 0.6], [True, True, False, True, True, False])
    assert find_threshold(found, 0.8) == pytest.approx(0.7)  # 4 of 5
    assert find_threshold(found, 0.99) == pytest.approx(0.9)
    assert find_threshold(found, 0.5) == pytest.approx(0.6)
    assert find_threshold(make([0.9, 0.8], [False, True]), 0.9) > 1


def test_those_that_are_equally_sure_are_answered_together():
    assert find_threshold(make([0.9, 0.8, 0.8], [True, True, False]), 0.9) == pytest.approx(0.9)


def test_what_a_threshold_costs_is_told_of_the_other_split():
    validation = make([0.9, 0.8, 0.7], [True, True, False])
    figures = abstain(validation, make([0.95, 0.85, 0.75, 0.6], [True, False, True, True]), 1.0, 0.95)
    assert (
        figures["abstain_below"] == pytest.approx(0.8)
        and figures["abstain_coverage"] == figures["abstain_precision"] == 0.5
    )
    nothing = abstain(make([0.9], [False]), validation, 1.0, 0.95)
    assert nothing["abstain_coverage"] == 0 and "abstain_precision" not in nothing
