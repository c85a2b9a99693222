"""The sections of scores and errors: how good the model is, how sure of that one may be, and where it fails."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from leyden.artifacts import CALIBRATION, METRICS, PER_CLASS, PREDICTIONS, ROBUSTNESS, SLICES, SUSPECTS
from leyden.data.packed import read_paths, read_report
from leyden.errors import UserError
from leyden.files import read_json
from leyden.files.tables import read_table
from leyden.stages.report.charts import draw_reliability
from leyden.stages.report.confusion import Confusion, count_confusion
from leyden.stages.report.pictures import Picture, pictures_of_rows
from leyden.stages.report.predictions import Prediction, choose, read_predictions
from leyden.stages.report.tables import read_optional_table
from leyden.stages.report.wording import acronym, decimal, percent, plural

MEANINGS = {
    "accuracy": "examples named rightly",
    "balanced_accuracy": "the same, each class counting alike",
    "macro_f1": "precision and recall in one, each class counting alike",
    "auroc": "chance that an example of a class scores higher for it than another example; 0.5 is guessing",
    "macro_precision": "of what is given a class's name, the share that is of it; each class counting alike",
    "brier_score": "squared distance of the probabilities from the truth; 0 is best, 2 is worst",
    "log_loss": "penalty for probability given to wrong labels; 0 is best",
    "calibration_error": "gap between confidence and accuracy; 0 is best",
}
TITLES = {"macro_f1": "macro F1", "auroc": "AUROC", "brier_score": "Brier score"}
NOT_SCORES = (
    "examples",
    "errors",
    "confidence_level",
    "temperature",
    "abstain_below",
    "abstain_coverage",
    "abstain_precision",
    "required",
)


class Score(NamedTuple):
    """A figure with its interval where it has one, as text."""

    title: str
    value: str
    interval: str
    meaning: str


@dataclass
class Evaluation:
    """What `leyden evaluate` found; `shown` are the surest errors, or where there is none the least sure right ones."""

    metrics: dict[str, Any]
    scores: list[Score]
    classes: list[dict[str, str]]
    confusion: Confusion
    bins: list[dict[str, str]]  # of confidence
    commonest_share: float  # of the test examples, in [0, 1]: the accuracy of always giving that label
    shown: list[tuple[Prediction, Picture | None]]
    noun: str
    weak: list[dict[str, str]]  # slices that fall short
    num_slices: int
    suspects: list[dict[str, str]]
    robustness: dict[str, list[dict[str, str]]]  # by kind

    @property
    def level(self) -> str:
        return f"{100 * self.metrics['confidence_level']:g}%"

    @property
    def reliability(self) -> Markup:
        return draw_reliability(self.bins, self.noun)

    @property
    def has_recall_intervals(self) -> bool:
        return any(row.get("recall_low") for row in self.classes)

    def interval(self, name: str) -> str:
        return f"{percent(self.metrics[name + '_low'])} to {percent(self.metrics[name + '_high'])}"

    def verdict(self) -> str:
        """Say how good the model is, and how sure of that one may be."""
        right = f"{percent(self.metrics['accuracy'])} of {plural(self.metrics['examples'], f'test {self.noun}')} named rightly"
        return f"{right} ({self.level} interval {self.interval('accuracy')})"

    def weakest(self, count: int) -> list[dict[str, str]]:
        """List the classes of the lowest recall."""
        return sorted((row for row in self.classes if row["recall"]), key=lambda row: float(row["recall"]))[:count]


def read_evaluation(evaluate: Path, prepare: Path, num_errors: int, noun: str) -> Evaluation:
    metrics = read_json(evaluate / METRICS, "evaluate")
    labels = read_report(prepare)["labels"]
    predictions = read_predictions(evaluate / PREDICTIONS)
    if [prediction.path for prediction in predictions] != read_paths(prepare, "test") or not {
        p.label for p in predictions
    } <= set(labels):
        raise UserError(
            f"expected predictions of the examples in {prepare}; {evaluate / PREDICTIONS} has others; run `leyden evaluate` again"
        )
    chosen = choose(predictions, num_errors)
    slices = read_optional_table(evaluate / SLICES, "evaluate")
    accuracies = read_optional_table(evaluate / ROBUSTNESS, "evaluate")
    kinds = dict.fromkeys(row["kind"] for row in accuracies)
    return Evaluation(
        metrics=metrics,
        scores=scores_of(metrics, {f"{kind}_accuracy" for kind in kinds}),
        classes=read_table(evaluate / PER_CLASS, "evaluate"),
        confusion=count_confusion([(prediction.label, prediction.prediction) for prediction in predictions], labels),
        bins=read_table(evaluate / CALIBRATION, "evaluate"),
        commonest_share=max(Counter(prediction.label for prediction in predictions).values()) / len(predictions),
        shown=list(
            zip(chosen, pictures_of_rows(prepare, "test", [prediction.row for prediction in chosen]), strict=True)
        ),
        noun=noun,
        weak=[row for row in slices if row["falls_short"] == "True"],
        num_slices=len(slices),
        suspects=read_optional_table(evaluate / SUSPECTS, "evaluate"),
        robustness={kind: [row for row in accuracies if row["kind"] == kind] for kind in kinds},
    )


def scores_of(metrics: dict[str, Any], left_out: set[str]) -> list[Score]:
    """Write the figures with their intervals, but for those told elsewhere."""
    bounds = {f"{name}_{end}" for name in metrics for end in ("low", "high")}
    return [score_of(name, metrics) for name in metrics if name not in bounds | left_out and name not in NOT_SCORES]


def score_of(name: str, metrics: dict[str, Any]) -> Score:
    write = percent if name.endswith(("accuracy", "precision")) else decimal
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    interval = f"{write(low)} to {write(high)}" if low is not None and high is not None else ""
    meaning = MEANINGS.get(name) or (
        "the right label is among the best " + name[4:-9] if name.startswith("top_") else ""
    )
    return Score(TITLES.get(name) or " ".join(map(acronym, name.split("_"))), write(metrics[name]), interval, meaning)
