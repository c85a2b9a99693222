"""Checks of whether the model is ready to ship."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from leyden.stages.report.dataset import Dataset
from leyden.stages.report.evaluation import MIN_TEST_EXAMPLES, Evaluation
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.exports import Exports, file_label
from leyden.stages.report.findings import Finding, data_verdict
from leyden.stages.report.formatting import as_sentence, as_words, decimal, factor, join_names, percent, plural
from leyden.stages.report.results import Results
from leyden.stages.report.training import Training

PASSED, WARNING, FAILED, MISSING = "Passed", "Warning", "Failed", "Missing"
ORDER = (FAILED, MISSING, WARNING, PASSED)
MAX_CALIBRATION_ERROR = 0.05
MAX_MILD_LOSS = 0.05  # of accuracy, under a corruption or attack at its mildest strength
MAX_NAMED = 5


class Check(NamedTuple):
    """A check with its outcome; `section` is the anchor on the page that shows the evidence in full."""

    outcome: str
    title: str
    evidence: str
    section: str


def list_checks(results: Results, findings: list[Finding]) -> list[Check]:
    """List the checks of a trained model in the order of `ORDER`."""
    dataset, training, evaluation, exports, explanations = results
    if training is None:
        return []
    checks = [
        *check_accuracy(evaluation),
        *check_data(dataset, findings, training),
        check_exports(exports),
        *(check_weaknesses(evaluation) if evaluation else ()),
        check_explanations(explanations),
    ]
    return sorted(checks, key=lambda check: ORDER.index(check.outcome))


def model_verdict(checks: list[Check]) -> str:
    """Return in one sentence whether the model is ready to ship."""
    if not checks:
        return "No model has been trained yet."
    counts = Counter(check.outcome for check in checks)
    if counts[FAILED]:
        return f"Not ready to ship: {plural(counts[FAILED], 'check')} failed."
    if counts[MISSING]:
        missing = join_names([check.title for check in checks if check.outcome == MISSING])
        return f"Not yet known whether the model is ready to ship: {missing}."
    if counts[WARNING]:
        return f"Ready to ship, with {plural(counts[WARNING], 'warning')}."
    return f"Ready to ship: all {len(checks)} checks passed."


def check_accuracy(evaluation: Evaluation | None) -> Iterator[Check]:
    if evaluation is None:
        yield Check(MISSING, "the model was not evaluated", "Run leyden evaluate to measure its accuracy.", "scores")
        return
    metrics, required = evaluation.metrics, evaluation.metrics.get("required", {})
    requirement = ", ".join(f"{as_words(name)} {minimum:g}" for name, minimum in required.items())
    if metrics["accuracy_low"] <= evaluation.majority_fraction:
        majority = percent(evaluation.majority_fraction)
        outcome, evidence = FAILED, f"; not clearly better than always predicting the most frequent label ({majority})."
    elif not required:
        outcome, evidence = WARNING, ". No required accuracy is set; set evaluate.require in configs/evaluate.yaml."
    elif metrics["accuracy_low"] < required.get("accuracy", 0):
        evidence = f"; meets the requirement ({requirement}), but might not on other {evaluation.noun}s."
        outcome = WARNING
    else:
        outcome, evidence = PASSED, f"; meets the requirement: {requirement}."
    yield Check(outcome, evaluation.accuracy_text, evaluation.accuracy_interval + evidence, "scores")
    error = metrics["calibration_error"]
    is_calibrated = error <= MAX_CALIBRATION_ERROR
    yield Check(
        PASSED if is_calibrated else WARNING,
        "Well calibrated" if is_calibrated else "Poorly calibrated",
        f"The stated confidence is off by {decimal(error)} on average; up to {MAX_CALIBRATION_ERROR:g} is good.",
        "scores",
    )


def check_data(dataset: Dataset, findings: list[Finding], training: Training) -> Iterator[Check]:
    trained_on = training.provenance["data_hash"]
    if trained_on and trained_on != dataset.data_hash:
        advice = "Run leyden fit and the stages after it to update the results."
        yield Check(FAILED, "The data has changed since the training", advice, "provenance")
    if not findings:
        outcome, title = PASSED, "No problems in the data"
    elif findings[0].is_blocking:
        outcome, title = FAILED, "Problems in the data must be fixed first"
    else:
        outcome, title = WARNING, "The data should be reviewed"
    yield Check(outcome, title, data_verdict(findings), "data")


def check_exports(exports: Exports | None) -> Check:
    if exports is None or not exports.files:
        advice = "Run leyden export to write and check the files."
        if exports and exports.refused:
            advice = as_sentence(exports.summary())
        return Check(MISSING, "there is no exported file to ship", advice, "exports")
    evidence = as_sentence(exports.summary())
    if exports.failed:
        return Check(FAILED, f"{plural(len(exports.failed), 'exported file')} not verified", evidence, "exports")
    if fastest := exports.fastest:
        name, speedup = file_label(fastest), factor(fastest["speedup_b1"])
        evidence += f" The fastest, {name}, is {speedup} as fast as eager PyTorch for one {exports.noun}."
    title = f"{plural(len(exports.files), 'exported file')} checked"
    if exports.refused:
        return Check(WARNING, f"{title}, {len(exports.refused)} refused", evidence, "exports")
    return Check(PASSED, title, evidence, "exports")


def check_weaknesses(evaluation: Evaluation) -> Iterator[Check]:
    """Check for weak slices, for classes with few test examples, and for sensitivity to mild changes."""
    if evaluation.weak_slices:
        worst = min(evaluation.weak_slices, key=lambda row: float(row["accuracy"]))
        evidence = (
            f"Worst: {as_words(worst['by'])} {worst['slice']}, with an accuracy of {percent(worst['accuracy'])} "
            f"on {worst['count']} {evaluation.noun}s."
        )
        yield Check(WARNING, plural(len(evaluation.weak_slices), "weak slice"), evidence, "weaknesses")
    elif evaluation.num_slices:
        evidence = (
            f"None of {evaluation.num_slices} slices (by class, brightness, size, group) is significantly worse "
            "than the others."
        )
        yield Check(PASSED, "No weak slices", evidence, "weaknesses")
    if small := evaluation.small_classes:
        title = f"{plural(len(small), 'class', 'classes')} with fewer than {MIN_TEST_EXAMPLES} test {evaluation.noun}s"
        evidence = f"Too few to measure their accuracy well: {join_names(small, MAX_NAMED)}."
        yield Check(WARNING, title, evidence, "scores")
    if evaluation.robustness:
        yield check_robustness(evaluation)


def check_robustness(evaluation: Evaluation) -> Check:
    mildest = {kind: rows[0] for kind, rows in evaluation.robustness.items()}
    kind, row = min(mildest.items(), key=lambda item: float(item[1]["accuracy"]))
    loss = evaluation.metrics["accuracy"] - float(row["accuracy"])
    evidence = (
        f"Of {len(mildest)} corruptions and attacks at their mildest, {kind} ({row['strength']}) lowers the accuracy "
        f"most, to {percent(row['accuracy'])}."
    )
    if loss > MAX_MILD_LOSS:
        return Check(WARNING, f"Sensitive to {kind}", evidence, "weaknesses")
    return Check(PASSED, "Robust to mild changes", evidence, "weaknesses")


def check_explanations(explanations: Explanations | None) -> Check:
    if explanations is None:
        advice = "Run leyden explain to see what the model looks at, and whether the maps can be trusted."
        return Check(WARNING, "Not explained", advice, "explanations")
    is_trusted = bool(explanations.trusted)
    title = "Explanations beat chance" if is_trusted else "No explanation can be trusted"
    evidence = as_sentence(explanations.summary())
    return Check(PASSED if is_trusted else WARNING, title, evidence, "explanations")
