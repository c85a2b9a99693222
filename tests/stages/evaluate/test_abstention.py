"""The threshold below which a model does not answer."""

import pytest
import torch

from leyden.stages.evaluate.abstention import find_threshold, measure_abstention
from leyden.stages.evaluate.predictions import Predictions
from tests.stages.evaluate.fake_predictions import make_predictions


def predict(confidence: list[float], is_correct: list[bool]) -> Predictions:
    probabilities = torch.tensor([[value, 1 - value] for value in confidence])
    return make_predictions(probabilities, torch.tensor([0 if each else 1 for each in is_correct]))


def test_the_threshold_is_the_lowest_with_the_precision():
    predictions = predict([0.95, 0.9, 0.85, 0.8, 0.7, 0.6], [True, True, False, True, True, False])
    assert find_threshold(predictions, 0.8) == pytest.approx(0.7)  # 4 of 5
    assert find_threshold(predictions, 0.99) == pytest.approx(0.9)
    assert find_threshold(predictions, 0.5) == pytest.approx(0.6)


def test_without_a_threshold_of_the_precision_nothing_is_answered():
    assert find_threshold(predict([0.9, 0.8], [False, True]), 0.9) > 1


def test_examples_of_equal_confidence_are_answered_together():
    assert find_threshold(predict([0.9, 0.8, 0.8], [True, True, False]), 0.9) == pytest.approx(0.9)


def test_the_threshold_of_the_validation_split_is_measured_on_the_test_split():
    validation = predict([0.9, 0.8, 0.7], [True, True, False])
    test = predict([0.95, 0.85, 0.75, 0.6], [True, False, True, True])
    metrics = measure_abstention(validation, test, 1.0, 0.95)
    assert metrics["abstain_below"] == pytest.approx(0.8)
    assert metrics["abstain_coverage"] == 0.5
    assert metrics["abstain_precision"] == 0.5


def test_without_answers_there_is_no_precision():
    test = predict([0.9, 0.8, 0.7], [True, True, False])
    metrics = measure_abstention(predict([0.9], [False]), test, 1.0, 0.95)
    assert metrics["abstain_coverage"] == 0
    assert "abstain_precision" not in metrics
