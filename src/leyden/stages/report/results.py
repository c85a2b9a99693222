"""The results of all stages, and the top of the page: a few headline metrics, and a sentence for the model card."""

from typing import NamedTuple

from leyden.outputs.number_format import UNKNOWN, decimal
from leyden.outputs.score_format import as_words
from leyden.stages.report.dataset import Dataset
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.exports import Exports, file_label
from leyden.stages.report.formatting import as_sentence, duration, factor, join_names, plural
from leyden.stages.report.measured import AnyEvaluation, MeasuredEvaluation
from leyden.stages.report.training import Training

MAX_SCORES = 3  # in the headline


class Results(NamedTuple):
    """The results of each stage, None for one that was not run; data must have been prepared."""

    dataset: Dataset
    training: Training | None
    evaluation: AnyEvaluation | None
    exports: Exports | None
    explanations: Explanations | None


def summarize_model(results: Results) -> str:
    """Summarise in one sentence the exported files and the explanations; the verdict states the accuracy."""
    if results.training is None:
        return ""
    stages = {"evaluated": results.evaluation, "exported": results.exports, "explained": results.explanations}
    missing = [verb for verb, result in stages.items() if result is None]
    parts = [result.summary() for result in (results.exports, results.explanations) if result]
    parts += [f"the model was not {join_names(missing, last='or')}"] if missing else []
    return as_sentence("; ".join(parts))


def headline_metrics(results: Results) -> list[tuple[str, str, str]]:
    """Return name, value and note of the headline metrics of the stages that were run."""
    _, training, evaluation, exports, explanations = results
    headlines = []
    if isinstance(evaluation, MeasuredEvaluation):
        scores = [evaluation.format(evaluation.headline), *evaluation.scores]
        for score in list({score.title: score for score in scores if score.value != UNKNOWN}.values())[:MAX_SCORES]:
            note = f"{evaluation.level} interval {score.interval}" if score.interval else ""
            headlines.append((f"test {score.title}", score.value, note))
    elif evaluation:
        metrics = evaluation.metrics
        num_examples = f"of {plural(metrics['examples'], f'test {evaluation.noun}')}"
        for name in dict.fromkeys((evaluation.headline, "accuracy")):
            score = evaluation.format(name)
            note = f"{evaluation.level} interval {score.interval}" if score.interval else ""
            headlines.append((f"test {score.title}", score.value, note))
        headlines += [
            ("errors", f"{metrics['errors']:,}", num_examples),
            ("calibration error", decimal(metrics["calibration_error"]), "0 is best"),
        ]
    if training and "parameters" in training.metrics:
        note = f"trained in {duration(training.metrics.get('seconds'))}"
        headlines.append(("parameters", f"{training.metrics['parameters']:,}", note))
    if exports and exports.fastest:
        note = f"{file_label(exports.fastest)}; speedup over eager PyTorch for one {exports.noun}"
        headlines.append(("fastest file", factor(exports.fastest["speedup_b1"]), note))
    if explanations and explanations.best in explanations.trusted:
        metrics = explanations.metrics[explanations.best]
        note = f"{as_words(explanations.best)}; random map {decimal(metrics['random_deletion_auc'])}"
        headlines.append(("deletion AUC", decimal(metrics["deletion_auc"]), note))
    return headlines
