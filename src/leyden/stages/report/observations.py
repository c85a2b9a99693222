"""What may limit a model, as the results show it.

Each function returns its observation in a sentence, or None where its condition does not hold; advice.py states the
conditions in words.
"""

from statistics import median
from typing import Any

from leyden.outputs.number_format import percent
from leyden.stages.report import measured_checks
from leyden.stages.report.dataset import Class
from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.findings import MAX_IMBALANCE
from leyden.stages.report.formatting import as_sentence, capitalize_first, isolate, join_names, list_smallest, plural
from leyden.stages.report.measured import MeasuredEvaluation, describe_baseline
from leyden.stages.report.outcomes import WARNING
from leyden.stages.report.results import Results
from leyden.stages.report.scores import check_calibration, check_robustness
from leyden.stages.report.slices import name_slice
from leyden.stages.report.training import Training
from leyden.yaml_files import load_yaml

MAX_NAMED = 5
MIN_GAIN = 0.05  # of the validation accuracy, for another epoch to be worth a try
MIN_FALL = 0.1  # of the validation loss over the last quarter of the epochs, relative to before
MAX_RISE = 0.2  # of the validation loss since its lowest point, relative to that
FEW_TRAINING_EXAMPLES = 100  # per class, for a network that begins with random weights
MAX_SHRINKAGE = 2  # an original's shorter side / that of the model's input
MAX_INTERVAL = 0.1  # of the accuracy


def observe_guessing(results: Results) -> str | None:
    evaluation = results.evaluation
    if isinstance(evaluation, MeasuredEvaluation):
        failed = [each for each in evaluation.baselines if not evaluation.beats(each)]
        return as_sentence(describe_baseline(evaluation, failed[0])) if failed else None
    if evaluation is None or evaluation.beats_constant_guess or evaluation.is_too_small:
        return None
    value, guess = evaluation.constant_guess
    if evaluation.headline == "accuracy":
        return f"{capitalize_first(guess)} is correct for {percent(value)} of the test {evaluation.noun}s."
    return f"The {evaluation.headline_title} of {guess} is {value:g}."


def observe_kept_epoch(results: Results) -> str | None:
    training, accuracies = results.training, read_curve(results.training, "val/accuracy")
    if training is None or training.kept_epoch not in accuracies:
        return None
    kept, best = accuracies[training.kept_epoch], max(accuracies, key=accuracies.__getitem__)
    if accuracies[best] <= kept + (0 if training.warning else MIN_GAIN):
        return None
    return (
        f"Epoch {training.kept_epoch} was kept, with a validation accuracy of {percent(kept)}; "
        f"epoch {best} had {percent(accuracies[best])}."
    )


def observe_falling_loss(results: Results) -> str | None:
    losses = list(read_curve(results.training, "val/loss").values())
    if len(losses) < 4:
        return None
    first, last = losses[-1 - len(losses) // 4], losses[-1]
    if last >= (1 - MIN_FALL) * first:
        return None
    return f"The validation loss was still falling: from {first:.3g} to {last:.3g} over the last quarter of the epochs."


def observe_rising_loss(results: Results) -> str | None:
    losses = list(read_curve(results.training, "val/loss").values())
    if not losses or losses[-1] <= (1 + MAX_RISE) * min(losses):
        return None
    return f"The validation loss rose from {min(losses):.3g} to {losses[-1]:.3g} by the last epoch."


def observe_few_training_images(results: Results) -> str | None:
    dataset, training = results.dataset, results.training
    typical = median([row.counts[0] for row in dataset.classes] or [FEW_TRAINING_EXAMPLES])
    if training is None or not dataset.has_images or typical >= FEW_TRAINING_EXAMPLES or is_pretrained(training):
        return None
    return (
        f"A {dataset.label_noun} has {typical:g} training images (median), and the network began with random weights."
    )


def observe_weak_classes(results: Results) -> str | None:
    label_noun, slices = results.dataset.label_noun, results.evaluation.slices if results.evaluation else None
    weak = {row["slice"] for row in slices.weak if row["by"] == label_noun} if slices else ()
    few: dict[str, int] = {row.label: row.counts[0] for row in results.dataset.classes if row.label in weak}
    return f"Significantly worse, with their training {results.dataset.noun}s: {list_smallest(few)}." if few else None


def observe_weak_slices(results: Results) -> str | None:
    label_noun, slices = results.dataset.label_noun, results.evaluation.slices if results.evaluation else None
    weak = [row for row in slices.weak if row["by"] != label_noun] if slices else []
    names = [name_slice(row) for row in weak]
    return f"Significantly worse: {join_names(names, MAX_NAMED)}." if names else None


def observe_imbalance(results: Results) -> str | None:
    if not results.dataset.reader.has_one_label:
        return None
    smallest, *_, largest = sorted(results.dataset.classes, key=lambda row: row.counts[0])
    if largest.counts[0] < MAX_IMBALANCE * max(1, smallest.counts[0]):
        return None
    return f"{describe(smallest)}, {describe(largest)} training {results.dataset.noun}s."


def describe(row: Class) -> str:
    return f"{isolate(row.label)} has {row.counts[0]:,}"


def observe_small_input(results: Results) -> str | None:
    dataset = results.dataset
    if not dataset.has_images or not {"height", "width"} <= dataset.spreads.keys():
        return None
    original = min(dataset.spreads[name]["median"] for name in ("height", "width"))
    side = min(dataset.input["image_size"])
    if original < MAX_SHRINKAGE * side:
        return None
    return f"The shorter side of an image is {original:g} pixels (median), the model's input has {side}."


def observe_wide_interval(results: Results) -> str | None:
    evaluation = single_label(results)
    if evaluation is None or evaluation.metrics["accuracy_high"] - evaluation.metrics["accuracy_low"] <= MAX_INTERVAL:
        return None
    examples = plural(evaluation.metrics["examples"], f"test {evaluation.noun}")
    return f"{examples} leave an interval of {evaluation.format('accuracy').interval}."


def observe_suspects(results: Results) -> str | None:
    evaluation = single_label(results)
    count = evaluation.num_wrong_labels if evaluation else 0
    return f"About {plural(count, 'label')} of the test and validation splits may be wrong." if count else None


def observe_sensitivity(results: Results) -> str | None:
    evaluation, checks = results.evaluation, []
    if isinstance(evaluation, MeasuredEvaluation):
        checks = list(measured_checks.check_robustness(evaluation))
    elif evaluation:
        checks = list(check_robustness(evaluation))
    return next((f"{check.title}." for check in checks if check.title.startswith("Sensitive")), None)


def observe_calibration(results: Results) -> str | None:
    if (evaluation := single_label(results)) is None:
        return None
    outcome, title, evidence, _ = check_calibration(evaluation)
    return evidence if outcome == WARNING and title == "Poorly calibrated" else None


def single_label(results: Results) -> Evaluation | None:
    """Return the evaluation if it is of a task with one label for each example."""
    return results.evaluation if isinstance(results.evaluation, Evaluation) else None


def read_curve(training: Training | None, name: str) -> dict[int, float]:
    """Return a column of curves.csv by epoch."""
    rows = training.rows if training else []
    return {int(row["epoch"]): float(row[name]) for row in rows if row.get(name)}


def is_pretrained(training: Training) -> bool:
    """Return whether the configuration names weights to begin with."""
    config: dict[str, Any] = load_yaml(training.config) or {}
    network, model = ((config.get(part) or {}).get("init_args") or {} for part in ("network", "model"))
    return bool(network.get("weights") or network.get("pretrained") or (model.get("start_from") or {}).get("path"))
