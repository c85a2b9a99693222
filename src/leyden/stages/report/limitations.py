"""The model card's limitations, as far as they can be computed."""

from leyden.outputs.number_format import percent
from leyden.outputs.score_format import as_words
from leyden.stages.report.evaluation import MIN_TEST_EXAMPLES, Evaluation
from leyden.stages.report.explanations import beats_chance
from leyden.stages.report.findings import Finding
from leyden.stages.report.formatting import TIMES, isolate, join_names, list_smallest, number_of, plural
from leyden.stages.report.measured import MeasuredEvaluation
from leyden.stages.report.results import Results


def list_limitations(results: Results, findings: list[Finding]) -> list[str]:
    """List the limitations, one or two sentences each."""
    dataset, _, evaluation, exports, explanations = results
    noun, has_accuracy = dataset.noun, dataset.reader.headline == "accuracy"
    limitations = [f"{finding.title}. {finding.advice}" for finding in findings if finding.is_blocking]
    limitations += [
        f"The test {noun}s come from the same source as the training {noun}s; "
        f"{'accuracy' if has_accuracy else 'results'} on {noun}s from other devices, "
        f"places or times may be {'lower' if has_accuracy else 'worse'}.",
        f"{noun.capitalize()}s of one subject may be in several splits, unless the data was split by subject; "
        "that would make the scores too optimistic.",
    ]
    if dataset.has_images:
        size = f" {TIMES} ".join(map(str, dataset.input["image_size"]))
        limitations.append(f"Images of a different size are resized to {size} pixels, whatever their aspect ratio.")
    if isinstance(evaluation, MeasuredEvaluation):
        limitations += list_measured_limitations(evaluation)
    elif evaluation:
        limitations += list_score_limitations(evaluation)
    else:
        limitations.append(
            f"{'The accuracy of the model' if has_accuracy else 'How good the model is'} was not measured."
        )
    if exports and exports.failed:
        limitations.append("Not every exported file passed the check against the checkpoint.")
    if explanations:
        failed = [as_words(name) for name, metrics in explanations.metrics.items() if not beats_chance(metrics)]
        if failed:
            limitations.append(
                f"Explanation methods that are not clearly better than a random map: {join_names(failed)}."
            )
    return limitations


def list_measured_limitations(evaluation: MeasuredEvaluation) -> list[str]:
    limitations = [
        f"The model is not clearly better than {baseline.guess}."
        for baseline in evaluation.baselines
        if not evaluation.beats(baseline)
    ]
    if small := evaluation.small_labels:
        label, labels = evaluation.reader.label_noun, evaluation.reader.noun
        limitations.append(
            f"{number_of(len(small), len(evaluation.labels), label, labels)} fewer than {MIN_TEST_EXAMPLES} "
            f"test {evaluation.noun}s, too few to measure its scores well: {list_smallest(small)}."
        )
    return [*limitations, evaluation.slices.summary()]


def list_score_limitations(evaluation: Evaluation) -> list[str]:
    label = evaluation.reader.label_noun
    error = evaluation.format("calibration_error")
    interval = f"; {evaluation.level} interval {error.interval}" if error.interval else ""
    limitations = [f"The stated confidence is off by {error.value} on average (expected calibration error{interval})."]
    if not evaluation.beats_constant_guess:
        limitations.append(f"The model is not clearly better than {evaluation.constant_guess[1]}.")
    if small := evaluation.small_classes:
        limitations.append(
            f"{number_of(len(small), len(evaluation.classes), label, evaluation.reader.noun)} fewer than "
            f"{MIN_TEST_EXAMPLES} test {evaluation.noun}s, too few to measure the accuracy on a {label} well: "
            f"{list_smallest(small)}."
        )
    limitations.append(evaluation.slices.summary())
    return limitations + list_lowest_recall(evaluation)


def list_lowest_recall(evaluation: Evaluation) -> list[str]:
    """Name the class with the lowest recall, or count the classes that share it; empty if there are no errors."""
    reader = evaluation.reader
    lowest = evaluation.lowest_recall(len(evaluation.classes))
    lowest = [row for row in lowest if float(row["recall"]) == float(lowest[0]["recall"]) < 1]
    if not lowest:
        return []
    recall, counts = percent(lowest[0]["recall"]), {row["label"]: int(row["count"]) for row in lowest}
    if len(lowest) > 1:
        return [
            f"{len(lowest):,} {reader.noun} share the lowest recall, {recall}; with test {evaluation.noun}s: "
            f"{list_smallest(counts)}."
        ]
    label, count = next(iter(counts.items()))
    return [
        f"The {reader.label_noun} with the lowest recall is {isolate(label)}: {recall} of its "
        f"{plural(count, f'test {evaluation.noun}')} {reader.participle} correctly."
    ]
