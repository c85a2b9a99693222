"""The verdict on a model is positive only where a requirement is met."""

import pytest

from leyden.stages.report.checks import list_checks
from leyden.stages.report.results import summarize_model
from leyden.stages.report.verdict import model_verdict, needs_advice
from tests.stages.report.cases import AT_CHANCE, NO_REQUIREMENT, THREE_RIGHT, evaluated, found, interval
from tests.stages.report.fake_results import (
    make_results,
)

VERDICTS = {
    "No model has been trained yet.": make_results(training=None, evaluation=None),
    "Not ready to ship: 2 checks failed. 55.0% of 400 test images": evaluated(AT_CHANCE),
    "Not yet known whether the model is ready to ship: the model was not evaluated.": make_results(evaluation=None),
    "Not yet known whether the model is ready to ship: 3 test images cannot show that": evaluated(
        THREE_RIGHT, majority_fraction=2 / 3
    ),
    "Might not be ready to ship: 1 requirement is met on the test split but might not be on another.": evaluated(
        {"required": {"accuracy": 0.89}}
    ),
    "90.0% of 400 test images classified correctly (95% interval 87.0% to 93.0%). No requirement was set.": evaluated(
        NO_REQUIREMENT
    ),
    "Ready to ship, with 1 warning. 90.0%": make_results(explanations=None),
    "Ready to ship: all 7 checks passed. 90.0% of 400 test images": make_results(),
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_headline_is_a_verdict_only_with_a_requirement(verdict: str) -> None:
    results = VERDICTS[verdict]
    checks = list_checks(results, found(results))
    assert model_verdict(checks, results.evaluation).startswith(verdict)
    is_verdict_positive = verdict.startswith("Ready")
    assert needs_advice(checks) == (bool(checks) and not is_verdict_positive)


def test_a_good_score_without_a_requirement_is_never_called_ready() -> None:
    results = evaluated(interval("accuracy", 0.99, 1.0, 1.0) | NO_REQUIREMENT)
    assert "ready" not in model_verdict(list_checks(results, found(results)), results.evaluation).lower()


def test_without_a_model_there_is_one_sentence_about_it() -> None:
    assert summarize_model(make_results(training=None, evaluation=None)) == ""
