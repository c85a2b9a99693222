"""What the model's figures do not promise: the card's section of limits, as far as it can be computed."""

from leyden.stages.report.dataset import Dataset
from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.explanations import Explanations, beats_chance
from leyden.stages.report.exports import Exports
from leyden.stages.report.findings import Finding
from leyden.stages.report.wording import TIMES, decimal, listed, percent, plural, words

FEW_EXAMPLES = 30  # a recall of 1 on 30 examples has a 95% interval that begins at 0.89
MAX_NAMED = 10


def limits_of(
    dataset: Dataset,
    findings: list[Finding],
    evaluation: Evaluation | None,
    exports: Exports | None,
    explanations: Explanations | None,
) -> list[str]:
    """List the limits, one sentence each."""
    noun = dataset.noun
    limits = [
        f"{finding.title}: {finding.advice[:1].lower()}{finding.advice[1:]}"
        for finding in findings
        if finding.must_mend
    ] + [
        f"The test {noun}s come from the same source as the training {noun}s: others (another device, place or time) may be named less well.",
        f"{noun.capitalize()}s of one subject may be in several splits, unless the data came split by subject; that would flatter the scores.",
    ]
    if dataset.has_images:
        size = f" {TIMES} ".join(map(str, dataset.input["image_size"]))
        limits.append(f"Images of another size are resized to {size} pixels, whatever their aspect ratio.")
    limits += limits_of_scores(evaluation) if evaluation else ["How good the model is was not measured."]
    if exports and any(row["status"] != "checked" for row in exports.files):
        limits.append("Not every exported file was shown to agree with the checkpoint.")
    if explanations:
        failed = [words(name) for name, figures in explanations.metrics.items() if not beats_chance(figures)]
        limits += [f"No better than a random map at finding what matters: {listed(failed)}."] if failed else []
    return limits


def limits_of_scores(evaluation: Evaluation) -> list[str]:
    limits = [
        f"A stated confidence is off by {decimal(evaluation.metrics['calibration_error'])} on average (expected calibration error)."
    ]
    few = [row["label"] for row in evaluation.classes if int(row["count"]) < FEW_EXAMPLES]
    if few:
        named = listed(few[:MAX_NAMED]) + (", ..." if len(few) > MAX_NAMED else "")
        limits.append(
            f"The scores of {plural(len(few), 'class', 'classes')} stand on fewer than {FEW_EXAMPLES} test {evaluation.noun}s each: {named}."
        )
    worst = evaluation.weakest(1)
    if worst and float(worst[0]["recall"]) < 1:
        limits.append(
            f"The class most often missed is {worst[0]['label']}: {percent(worst[0]['recall'])} of its test {evaluation.noun}s were found."
        )
    return limits
