"""The top of the page: one sentence about the model and a few headline metrics."""

from typing import NamedTuple

from leyden.stages.report.exports import file_label
from leyden.stages.report.formatting import as_sentence, as_words, decimal, duration, factor, percent, plural
from leyden.stages.report.results import Results


class HeadlineMetric(NamedTuple):
    """A metric as text, with a note below it."""

    name: str
    value: str
    note: str


def summarize_model(results: Results) -> str:
    """Summarise in one sentence the model's accuracy, its exported files, and its explanations."""
    if results.training is None:
        return "No model has been trained yet."
    parts = [
        results.evaluation.summary() if results.evaluation else "the model was not evaluated",
        results.exports.summary() if results.exports else "it was not exported",
        results.explanations.summary() if results.explanations else "it was not explained",
    ]
    return as_sentence("; ".join(parts))


def headline_metrics(results: Results) -> list[HeadlineMetric]:
    """Return the headline metrics of the stages that were run."""
    _, training, evaluation, exports, explanations = results
    headlines = []
    if evaluation:
        metrics = evaluation.metrics
        num_examples = f"of {plural(metrics['examples'], f'test {evaluation.noun}')}"
        headlines += [
            HeadlineMetric("test accuracy", percent(metrics["accuracy"]), evaluation.interval),
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
