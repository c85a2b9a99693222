"""Checks of an evaluation by measures: a constant guess, `require`, coverage, weak slices, small labels, robustness."""

from collections.abc import Iterator

from leyden.outputs.number_format import percent
from leyden.stages.report.evaluation import MIN_TEST_EXAMPLES
from leyden.stages.report.formatting import capitalize_first, join_names, list_smallest, number_of
from leyden.stages.report.measured import MeasuredEvaluation, describe_baseline
from leyden.stages.report.outcomes import FAILED, MISSING, NOT_JUDGED, PASSED, WARNING, Check
from leyden.stages.report.scores import (
    NO_REQUIREMENT,
    check_requirements,
    check_robustness,
    check_slices,
)

COVERAGE_MARGIN = 0.05  # by which the coverage of intervals may miss what they were made for


def check_measures(evaluation: MeasuredEvaluation) -> list[Check]:
    return [
        check_headline(evaluation),
        *check_requirements(evaluation),
        *check_coverage(evaluation),
        *check_slices(evaluation.slices),
        *check_small_labels(evaluation),
        *check_robustness(evaluation),
    ]


def check_headline(evaluation: MeasuredEvaluation) -> Check:
    """Compare with a constant guess, where there is one; only a requirement can say if it is good enough."""
    if evaluation.headline not in evaluation.metrics:
        evidence = "Too few of the test examples have what it measures."
        return Check(MISSING, evaluation.headline_text, evidence, "scores")
    guesses = [describe_baseline(evaluation, baseline) for baseline in evaluation.baselines]
    evidence = "; ".join([capitalize_first(evaluation.headline_interval), *guesses]) + "."
    outcome = PASSED
    if not evaluation.beats_constant_guess:
        outcome = FAILED
    elif not evaluation.metrics.get("required"):
        outcome, evidence = NOT_JUDGED, f"{evidence} {NO_REQUIREMENT}"
    return Check(outcome, evaluation.headline_text, evidence, "scores")


def check_coverage(evaluation: MeasuredEvaluation) -> Iterator[Check]:
    """Check that predicted intervals contain about as many true values as they were made to contain."""
    nominal = evaluation.reader.coverage
    names = [name for name in evaluation.metrics if name in ("coverage", *coverage_names(evaluation))]
    if nominal is None or not names:
        return
    off = [name for name in names if is_off(evaluation, name, nominal)]
    outcome, title = PASSED, "The predicted intervals have the right width"
    if off:
        is_narrow = evaluation.metrics[off[0]] < nominal
        outcome, title = WARNING, f"The predicted intervals are too {'narrow' if is_narrow else 'wide'}"
    scores = [evaluation.format(name) for name in off or names]
    measured = join_names(
        [f"{score.value}{f' ({score.interval})' if score.interval else ''}" for score in scores], max_names=3
    )
    evidence = (
        f"{capitalize_first(scores[0].title)}: {measured} of the true values lie inside, {percent(nominal)} should; "
        f"up to {100 * COVERAGE_MARGIN:g} points more or less is good."
    )
    yield Check(outcome, title, evidence, "scores")


def coverage_names(evaluation: MeasuredEvaluation) -> list[str]:
    return [f"coverage/{label}" for label in evaluation.reader.labels]


def is_off(evaluation: MeasuredEvaluation, name: str, nominal: float) -> bool:
    """Return whether a coverage is clearly another than the nominal one, and far from it."""
    value = evaluation.metrics[name]
    low, high = (evaluation.metrics.get(f"{name}_{end}", value) for end in ("low", "high"))
    return not low <= nominal <= high and abs(value - nominal) > COVERAGE_MARGIN


def check_small_labels(evaluation: MeasuredEvaluation) -> Iterator[Check]:
    if small := evaluation.small_labels:
        nouns = evaluation.reader.noun
        labels = number_of(len(small), len(evaluation.labels), evaluation.reader.label_noun, nouns)
        title = f"{labels} fewer than {MIN_TEST_EXAMPLES} test {evaluation.noun}s"
        evidence = f"Too few to measure its scores well: {list_smallest(small)}."
        yield Check(WARNING, title, evidence, "scores")
