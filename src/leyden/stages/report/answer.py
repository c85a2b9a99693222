"""The answer that the page opens with: a sentence and a handful of figures."""

from typing import NamedTuple

from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.exports import Exports, name_of
from leyden.stages.report.training import Training
from leyden.stages.report.wording import decimal, duration, percent, plural, sentence, times, words


class Tile(NamedTuple):
    """A headline figure."""

    name: str
    value: str
    note: str


def answer_of(
    training: Training | None, evaluation: Evaluation | None, exports: Exports | None, explanations: Explanations | None
) -> str:
    """Say in one sentence how good the model is, whether its files agree, and whether its explanations beat chance."""
    if training is None:
        return "No model was trained yet."
    parts = [
        evaluation.verdict() if evaluation else "the model was not evaluated",
        exports.verdict() if exports else "it was not exported",
        explanations.verdict() if explanations else "it was not explained",
    ]
    return sentence("; ".join(parts))


def headline_metrics(
    training: Training | None, evaluation: Evaluation | None, exports: Exports | None, explanations: Explanations | None
) -> list[Tile]:
    """Give the headline figures of the stages that were run."""
    tiles = []
    if evaluation:
        metrics = evaluation.metrics
        tiles.append(
            Tile(
                "test accuracy",
                percent(metrics["accuracy"]),
                f"{evaluation.level} interval {evaluation.interval('accuracy')}",
            )
        )
        tiles.append(
            Tile("errors", f"{metrics['errors']:,}", f"of {plural(metrics['examples'], f'test {evaluation.noun}')}")
        )
        tiles.append(Tile("calibration error", decimal(metrics["calibration_error"]), "0 is best"))
    if training and "parameters" in training.metrics:
        tiles.append(
            Tile(
                "parameters",
                f"{training.metrics['parameters']:,}",
                f"trained in {duration(training.metrics.get('seconds'))}",
            )
        )
    if exports and exports.fastest:
        tiles.append(
            Tile(
                "fastest file",
                times(exports.fastest["speed_up_b1"]),
                f"{name_of(exports.fastest)}, over eager PyTorch, one {exports.noun}",
            )
        )
    if explanations and explanations.best:
        figures = explanations.metrics[explanations.best]
        note = f"{words(explanations.best)}; a random map {decimal(figures['random_deletion_auc'])}"
        tiles.append(Tile("deletion AUC", decimal(figures["deletion_auc"]), note))
    return tiles
