"""Checks of the scores: headline, requirements, calibration, weak slices, small classes, robustness."""

from collections.abc import Iterator

from leyden.outputs.score_format import DISTANCES, is_percentage, uppercase_acronym
from leyden.stages.report.evaluation import MIN_TEST_EXAMPLES, Evaluation
from leyden.stages.report.formatting import capitalize_first, list_smallest, number_of, plural
from leyden.stages.report.measured import AnyEvaluation
from leyden.stages.report.outcomes import FAILED, MISSING, NOT_JUDGED, PASSED, UNCERTAIN, WARNING, Check
from leyden.stages.report.requirements import MET, MISSED, list_requirements
from leyden.stages.report.slices import Slices

MAX_CALIBRATION_ERROR = 0.05
MAX_MILD_LOSS = 0.05  # of the headline, under a corruption or attack at its mildest strength
MAX_MILD_RISE = 0.1  # of an error without an upper bound, relative to that on unchanged examples
NO_REQUIREMENT = "No requirement was set; set evaluate.require in configs/evaluate.yaml."
WITHIN, BEYOND, UNKNOWN = "within", "beyond", "unknown"


def check_scores(evaluation: Evaluation) -> list[Check]:
    return [
        check_headline(evaluation),
        *check_requirements(evaluation),
        check_calibration(evaluation),
        *check_slices(evaluation.slices),
        *check_small_classes(evaluation),
        *check_robustness(evaluation),
    ]


def check_headline(evaluation: Evaluation) -> Check:
    """Compare the headline's interval with a constant guess; only a requirement can say whether it is high enough."""
    title = evaluation.headline_text
    if evaluation.headline not in evaluation.metrics:
        return Check(MISSING, title, f"All predicted and true {evaluation.reader.noun} are the same.", "scores")
    value, guess = evaluation.constant_guess
    majority = f"clearly better than {guess} ({evaluation.headline_cell(value)})"
    if evaluation.is_too_small:
        outcome, evidence = MISSING, f"with so few, even a perfect score would not be {majority}."
        examples = plural(evaluation.metrics["examples"], f"test {evaluation.noun}")
        title = f"{examples} cannot show that the model is better than a constant guess"
    elif not evaluation.beats_constant_guess:
        outcome, evidence = FAILED, f"not {majority}."
    elif not evaluation.metrics.get("required"):
        outcome, evidence = NOT_JUDGED, f"{majority}. {NO_REQUIREMENT}"
    else:
        outcome, evidence = PASSED, f"{majority}."
    return Check(outcome, title, f"{capitalize_first(evaluation.headline_interval)}; {evidence}", "scores")


def check_requirements(evaluation: AnyEvaluation) -> Iterator[Check]:
    titles = {MET: (PASSED, "Requirement met"), MISSED: (FAILED, "Requirement missed")}
    for name, text, outcome in list_requirements(evaluation.metrics, evaluation.lower_is_better):
        shown, title = titles.get(outcome, (UNCERTAIN, "Requirement met, but not certain to be"))
        score = evaluation.format(name)
        interval = f" ({evaluation.level} interval {score.interval})" if score.interval else ""
        yield Check(shown, f"{title}: {text}", f"{score.value} was measured{interval}.", "scores")


def check_calibration(evaluation: Evaluation) -> Check:
    score, metrics = evaluation.format("calibration_error"), evaluation.metrics
    error = metrics["calibration_error"]
    low, high = metrics.get("calibration_error_low", error), metrics.get("calibration_error_high", error)
    outcome, title = {
        WITHIN: (PASSED, "Well calibrated"),
        BEYOND: (WARNING, "Poorly calibrated"),
        UNKNOWN: (WARNING, "Calibration cannot be judged"),
    }[compare(low, high, MAX_CALIBRATION_ERROR)]
    interval = f" ({evaluation.level} interval {score.interval})" if score.interval else ""
    limit = f"up to {MAX_CALIBRATION_ERROR:g} is good"
    if title.endswith("judged"):
        limit += f", and {plural(metrics['examples'], evaluation.noun)} are too few to tell"
    evidence = f"The stated confidence is off by {score.value} on average{interval}; {limit}."
    return Check(outcome, title, evidence, "scores")


def compare(low: float, high: float, limit: float) -> str:
    """Return whether a whole interval is within a limit or beyond it, or whether it spans the limit."""
    return WITHIN if high <= limit else BEYOND if low > limit else UNKNOWN


def check_slices(slices: Slices) -> Iterator[Check]:
    if slices.weak:
        evidence = f"Worst: {slices.describe(slices.worst)}. {slices.summary()}"
        yield Check(WARNING, plural(len(slices.weak), "weak slice"), evidence, "weaknesses")
    elif slices.num_judged:
        title = "No weak slices" + (" among those that can be judged" if slices.too_small else "")
        yield Check(PASSED, title, slices.summary(), "weaknesses")
    elif slices.rows:
        yield Check(WARNING, "No slice can be judged", slices.summary(), "weaknesses")


def check_small_classes(evaluation: Evaluation) -> Iterator[Check]:
    if small := evaluation.small_classes:
        label, labels = evaluation.reader.label_noun, evaluation.reader.noun
        classes = number_of(len(small), len(evaluation.classes), label, labels)
        title = f"{classes} fewer than {MIN_TEST_EXAMPLES} test {evaluation.noun}s"
        evidence = f"Too few to measure the accuracy on a {label} well: {list_smallest(small)}."
        yield Check(WARNING, title, evidence, "scores")


def check_robustness(evaluation: AnyEvaluation) -> Iterator[Check]:
    """Judge by how much the headline gets worse under the worst change at its mildest strength."""
    headline = evaluation.headline
    mildest = {kind: rows[0] for kind, rows in evaluation.robustness.items() if rows[0].get(headline)}
    if not mildest or headline not in evaluation.metrics:
        return
    sign = 1 if headline in evaluation.lower_is_better else -1
    kind, row = max(mildest.items(), key=lambda item: sign * float(item[1][headline]))
    clean, value = float(evaluation.metrics[headline]), float(row[headline])
    ends = [sign * (float(row.get(f"{headline}_{end}") or value) - clean) for end in ("low", "high")]
    is_distance = headline in DISTANCES
    limit = MAX_MILD_RISE * clean if is_distance else MAX_MILD_LOSS
    name = uppercase_acronym(kind)
    outcome, title = {
        WITHIN: (PASSED, "Robust to mild changes"),
        BEYOND: (WARNING, f"Sensitive to {name}"),
        UNKNOWN: (WARNING, "Robustness to mild changes cannot be judged"),
    }[compare(min(ends), max(ends), limit)]
    examples, interval = evaluation.robustness_examples, evaluation.robustness_interval(row)
    loss = f"{100 * MAX_MILD_LOSS:g} points" if is_percentage(headline) else f"{MAX_MILD_LOSS:g}"
    allowed = f"a rise by up to {MAX_MILD_RISE:.0%}" if is_distance else f"a loss of up to {loss}"
    evidence = (
        f"At the mildest strength, the {evaluation.headline_title} is worst under {name} ({row['strength']}): "
        f"{evaluation.headline_cell(value)}{f' ({evaluation.level} interval {interval})' if interval else ''}"
        f"{f' on {examples}' if examples else ''}, against {evaluation.headline_cell(clean)} without it; {allowed} is "
        "mild."
    )
    yield Check(outcome, title, evidence, "weaknesses")
