"""Is this model fit to ship? What speaks for it, what against it, and what is to be weighed."""

from collections.abc import Iterator
from typing import NamedTuple

from leyden.stages.report.dataset import Dataset
from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.exports import Exports, name_of
from leyden.stages.report.findings import Finding, verdict_of
from leyden.stages.report.limits import FEW_EXAMPLES
from leyden.stages.report.training import Training
from leyden.stages.report.wording import decimal, listed, percent, plural, sentence, times, words

FOR, WEIGH, AGAINST, MISSING = "For", "Weigh", "Against", "Missing"
ORDER = (AGAINST, MISSING, WEIGH, FOR)
MAX_CALIBRATION_ERROR = 0.05
MAX_LOSS_WHEN_MILD = 0.05  # of accuracy, under the mildest strength of a change


class Check(NamedTuple):
    """A reason to ship or not to; `section` of the page shows what it stands on."""

    side: str
    title: str
    evidence: str
    section: str


def checks_of(
    dataset: Dataset,
    findings: list[Finding],
    training: Training | None,
    evaluation: Evaluation | None,
    exports: Exports | None,
    explanations: Explanations | None,
) -> list[Check]:
    """List the checks, what speaks against the model first."""
    if training is None:
        return []
    found = [
        *judge_accuracy(evaluation),
        *judge_data(dataset, findings, training),
        *judge_exports(exports),
        *(judge_weaknesses(evaluation) if evaluation else ()),
        judge_explanations(explanations),
    ]
    return sorted(found, key=lambda check: ORDER.index(check.side))


def judgement_of(checks: list[Check]) -> str:
    """Answer in one sentence."""
    count = {side: sum(check.side == side for check in checks) for side in ORDER}
    to_weigh = f", with {plural(count[WEIGH], 'thing')} to weigh" if count[WEIGH] else ""
    if not checks:
        return "No model was trained yet."
    if count[AGAINST]:
        return f"Not fit to ship: {plural(count[AGAINST], 'thing speaks', 'things speak')} against it."
    if count[MISSING]:
        return f"Not known to be fit to ship: {listed([check.title for check in checks if check.side == MISSING])}."
    return f"Fit to ship{to_weigh}." if to_weigh else f"Fit to ship: all {len(checks)} checks speak for it."


def judge_accuracy(evaluation: Evaluation | None) -> Iterator[Check]:
    if evaluation is None:
        yield Check(MISSING, "it was not evaluated", "leyden evaluate measures how good it is.", "scores")
        return
    metrics, required = evaluation.metrics, evaluation.metrics.get("required", {})
    title = f"{percent(metrics['accuracy'])} of {plural(metrics['examples'], f'test {evaluation.noun}')} named rightly"
    interval = f"{evaluation.level} interval {evaluation.interval('accuracy')}"
    always = evaluation.commonest_share
    gate = ", ".join(f"{words(name)} {wanted:g}" for name, wanted in required.items())
    if metrics["accuracy_low"] <= always:
        evidence = (
            f"{interval}: no better than always giving the commonest label ({percent(always)}), as far as one can tell."
        )
        yield Check(AGAINST, title, evidence, "scores")
    elif not required:
        evidence = f"{interval}. What would be enough was not said: evaluate.require in configs/evaluate.yaml."
        yield Check(WEIGH, title, evidence, "scores")
    elif metrics["accuracy_low"] < required.get("accuracy", 0):
        yield Check(
            WEIGH,
            title,
            f"{interval}: meets what was required ({gate}), but on other {evaluation.noun}s it might not.",
            "scores",
        )
    else:
        yield Check(FOR, title, f"{interval}; meets what was required: {gate}.", "scores")
    error = metrics["calibration_error"]
    off = (
        f"A stated confidence is off by {decimal(error)} on average; up to {MAX_CALIBRATION_ERROR:g} is taken as good."
    )
    yield Check(
        *((FOR, "Well calibrated") if error <= MAX_CALIBRATION_ERROR else (WEIGH, "Badly calibrated")), off, "scores"
    )


def judge_data(dataset: Dataset, findings: list[Finding], training: Training) -> Iterator[Check]:
    trained_on = training.provenance["data_hash"]
    if trained_on and trained_on != dataset.data_hash:
        advice = "leyden fit, then the later stages, bring the figures up to date."
        yield Check(AGAINST, "The data was prepared anew after the training", advice, "provenance")
    side = FOR if not findings else AGAINST if findings[0].must_mend else WEIGH
    title = {FOR: "Sound data", WEIGH: "The data is worth a look", AGAINST: "The data must be mended"}[side]
    yield Check(side, title, verdict_of(findings), "data")


def judge_exports(exports: Exports | None) -> Iterator[Check]:
    if exports is None or not exports.files:
        yield Check(MISSING, "there is no exported file to ship", "leyden export writes and checks them.", "exports")
        return
    failed = [row for row in exports.files if row["status"] != "checked"]
    if failed:
        yield Check(
            AGAINST,
            f"{plural(len(failed), 'exported file')} not shown to agree",
            sentence(exports.verdict()),
            "exports",
        )
        return
    fastest = exports.fastest
    speed = (
        f" The fastest, {name_of(fastest)}, is {times(fastest['speed_up_b1'])} as fast as eager PyTorch on one {exports.noun}."
        if fastest
        else ""
    )
    title = f"{plural(len(exports.files), 'exported file')} checked"
    yield Check(FOR, title, sentence(exports.verdict()) + speed, "exports")


def judge_weaknesses(evaluation: Evaluation) -> Iterator[Check]:
    """Judge the worst slice, the classes that are too small to judge, and the change that costs most."""
    if evaluation.weak:
        worst = min(evaluation.weak, key=lambda row: float(row["accuracy"]))
        evidence = f"Worst: {words(worst['by'])} {worst['slice']}, {percent(worst['accuracy'])} of {worst['count']} {evaluation.noun}s."
        yield Check(
            WEIGH, f"{plural(len(evaluation.weak), 'slice falls', 'slices fall')} short", evidence, "weaknesses"
        )
    elif evaluation.num_slices:
        evidence = f"None of {evaluation.num_slices} slices (by class, brightness, size, group) is worse than the others by more than chance."
        yield Check(FOR, "No weak slice", evidence, "weaknesses")
    few = [row["label"] for row in evaluation.classes if int(row["count"]) < FEW_EXAMPLES]
    if few:
        title = f"{plural(len(few), 'class', 'classes')} with fewer than {FEW_EXAMPLES} test {evaluation.noun}s"
        yield Check(
            WEIGH,
            title,
            "How well they are named is hardly known: " + listed(few[:5]) + ("." if len(few) <= 5 else ", and others."),
            "scores",
        )
    if evaluation.robustness:
        yield judge_robustness(evaluation)


def judge_robustness(evaluation: Evaluation) -> Check:
    mild = {kind: rows[0] for kind, rows in evaluation.robustness.items()}
    kind = min(mild, key=lambda name: float(mild[name]["accuracy"]))
    row = mild[kind]
    loss = evaluation.metrics["accuracy"] - float(row["accuracy"])
    evidence = f"Of {len(mild)} changes at their mildest, {kind} ({row['strength']}) costs most: {percent(row['accuracy'])} named rightly."
    if loss > MAX_LOSS_WHEN_MILD:
        return Check(WEIGH, f"Sensitive to {kind}", evidence, "weaknesses")
    return Check(FOR, "Robust to mild changes", evidence, "weaknesses")


def judge_explanations(explanations: Explanations | None) -> Check:
    if explanations is None:
        return Check(
            WEIGH,
            "Not explained",
            "leyden explain shows what it looks at, and measures whether that can be believed.",
            "explanations",
        )
    side, title = (
        (FOR, "Explanations that beat chance") if explanations.trusted else (WEIGH, "No explanation can be trusted")
    )
    return Check(side, title, sentence(explanations.verdict()), "explanations")
