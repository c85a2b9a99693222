"""The top of the page: one sentence about the model and a few headline metrics."""

from typing import NamedTuple

from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.exports import Exports, file_label
from leyden.stages.report.formatting import as_sentence, as_words, decimal, duration, factor, percent, plural
from leyden.stages.report.training import Training


class HeadlineMetric(NamedTuple):
    """A metric as text, with a note below it."""

    name: str
    value: str
    note: str


def summarize_model(
    training: Training | None, evaluation: Evaluation | None, exports: Exports | None, explanations: Explanations | None
) -> str:
    """Summarise in one sentence the model's accuracy, its exported files, and its explanations."""
    if training is None:
        return "No model has been trained yet."
    parts = [
        evaluation.summary() if evaluation else "the model was not evaluated",
        exports.summary() if exports else "it was not exported",
        explanations.summary() if explanations else "it was not explained",
    ]
    return as_sentence("; ".join(parts))


def headline_metrics(
    training: Training | None, evaluation: Evaluation | None, exports: Exports | None, explanations: Explanations | None
) -> list[HeadlineMetric]:
    """Return the headline metrics of the stages that were run."""
    headlines = []
    if evaluation:
        metrics = evaluation.metrics
        interval = f"{evaluation.level} interval {evaluation.format_interval('accuracy')}"
        num_examples = f"of {plural(metrics['examples'], f'test {evaluation.noun}')}"
        headlines += [
            HeadlineMetric("test accuracy", percent(metrics["accuracy"]), interval),
            HeadlineMetric("errors", f"{metrics['errors']:,}", num_examples),
            HeadlineMetric("calibration error", decimal(metrics["calibration_error"]), "0 is best"),
        ]
    if training and "parameters" in training.metrics:
        note = f"trained in {duration(training.metrics.get('seconds'))}"
        headlines.append(HeadlineMetric("parameters", f"{training.metrics['parameters']:,}", note))
    if exports and exports.fastest:
        note = f"{file_label(exports.fastest)}; speedup over eager PyTorch for one {exports.noun}"
        headlines.append(HeadlineMetric("fastest file", factor(exports.fastest["speedup_b1"]), note))
    if explanations and explanations.best:
        metrics = explanations.metrics[explanations.best]
        note = f"{as_words(explanations.best)}; random map {decimal(metrics['random_deletion_auc'])}"
        headlines.append(HeadlineMetric("deletion AUC", decimal(metrics["deletion_auc"]), note))
    return headlines
