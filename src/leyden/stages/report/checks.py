"""Checks of whether the model is ready to ship."""

from collections.abc import Iterator

from leyden.stages.report.dataset import Dataset
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.exports import Exports, file_label
from leyden.stages.report.findings import Finding, data_verdict
from leyden.stages.report.formatting import as_sentence, factor, plural
from leyden.stages.report.measured import AnyEvaluation, MeasuredEvaluation
from leyden.stages.report.measured_checks import check_measures
from leyden.stages.report.outcomes import FAILED, MISSING, ORDER, PASSED, WARNING, Check
from leyden.stages.report.results import Results
from leyden.stages.report.scores import check_scores
from leyden.stages.report.training import Training


def list_checks(results: Results, findings: list[Finding]) -> list[Check]:
    """List the checks of a trained model in the order of `ORDER`."""
    dataset, training, evaluation, exports, explanations = results
    if training is None:
        return []
    checks = [
        *check_evaluation(evaluation),
        *check_training(training),
        *check_data(dataset, findings, training),
        check_exports(exports),
        check_explanations(explanations),
    ]
    return sorted(checks, key=lambda check: ORDER.index(check.outcome))


def check_evaluation(evaluation: AnyEvaluation | None) -> list[Check]:
    if evaluation is None:
        advice = "Run leyden evaluate to measure how good it is."
        return [Check(MISSING, "the model was not evaluated", advice, "scores")]
    return check_measures(evaluation) if isinstance(evaluation, MeasuredEvaluation) else check_scores(evaluation)


def check_training(training: Training) -> Iterator[Check]:
    if training.warning:
        yield Check(WARNING, "The kept epoch is doubtful", as_sentence(training.warning), "training")


def has_changed(dataset: Dataset, training: Training) -> bool:
    """Return whether the model was trained on other data than is prepared now."""
    return training.provenance["data_hash"] not in ("", dataset.data_hash)


def check_data(dataset: Dataset, findings: list[Finding], training: Training) -> Iterator[Check]:
    if has_changed(dataset, training):
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


def check_explanations(explanations: Explanations | None) -> Check:
    if explanations is None:
        advice = "Run leyden explain to see what the model looks at, and whether the maps can be trusted."
        return Check(WARNING, "Not explained", advice, "explanations")
    is_trusted = bool(explanations.trusted)
    title = "Explanations beat chance" if is_trusted else "No explanation can be trusted"
    evidence = as_sentence(explanations.summary())
    return Check(PASSED if is_trusted else WARNING, title, evidence, "explanations")
