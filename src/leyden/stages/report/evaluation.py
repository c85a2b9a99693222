"""The sections of scores, errors and weaknesses: how good the model is, and where it fails."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from leyden.artifacts import CALIBRATION, LESS_IS_BETTER, METRICS, PER_CLASS, PREDICTIONS, ROBUSTNESS, SUSPECTS
from leyden.data.packed import read_paths
from leyden.errors import UserError
from leyden.files import read_json
from leyden.files.tables import read_table
from leyden.outputs.number_format import percent
from leyden.outputs.reader import OutputReader
from leyden.outputs.score_format import format_value, score_title
from leyden.stages.report.charts import draw_reliability
from leyden.stages.report.confusion import Confusion, count_confusion
from leyden.stages.report.dataset import Dataset
from leyden.stages.report.formatting import plural
from leyden.stages.report.measures import Score, format_score, score_names
from leyden.stages.report.pictures import Picture, encode_rows
from leyden.stages.report.predictions import Prediction, read_predictions, select_shown
from leyden.stages.report.slices import Slices, read_slices
from leyden.stages.report.tables import read_optional_table
from leyden.statistics.wilson import wilson_interval

MIN_TEST_EXAMPLES = 30  # per class: a recall of 1 on 30 examples has a 95% interval that begins at 0.89

Row = dict[str, str]


@dataclass
class Evaluation:
    """The results of `leyden evaluate`.

    `shown` are the most confident errors, or the least confident predictions if there are no errors.
    """

    reader: OutputReader
    metrics: dict[str, Any]
    scores: list[Score]
    classes: list[Row]
    confusion: Confusion
    reliability: Markup
    majority_fraction: float  # accuracy of always predicting the most frequent label, in [0, 1]
    shown: list[tuple[Prediction, Picture | None]]
    noun: str
    slices: Slices
    suspects: list[Row]
    robustness: dict[str, list[Row]]  # by kind of corruption or attack

    @property
    def lower_is_better(self) -> Collection[str]:
        return LESS_IS_BETTER

    @property
    def level(self) -> str:
        return f"{100 * self.metrics['confidence_level']:g}%"

    @property
    def headline(self) -> str:
        return self.reader.headline

    @property
    def headline_title(self) -> str:
        return score_title(self.headline)

    @property
    def headline_text(self) -> str:
        examples = plural(self.metrics["examples"], f"test {self.noun}")
        if self.headline not in self.metrics:
            return f"{self.headline_title} is undefined on {examples}"
        value = self.headline_cell(self.metrics[self.headline])
        if self.headline == "accuracy":
            return f"{value} of {examples} {self.reader.participle} correctly"
        return f"{self.headline_title} {value} on {examples}"

    @property
    def headline_interval(self) -> str:
        return f"{self.level} interval {self.format(self.headline).interval or 'unknown'}"

    def headline_cell(self, value: float | str | None) -> str:
        return format_value(self.headline, value)

    def robustness_interval(self, row: Row) -> str:
        low, high = (row.get(f"{self.headline}_{end}") for end in ("low", "high"))
        return f"{self.headline_cell(low)} to {self.headline_cell(high)}" if low and high else ""

    @property
    def constant_guess(self) -> tuple[float, str]:
        """The headline of a constant guess, and what is guessed."""
        if self.headline == "accuracy":
            return self.majority_fraction, f"always predicting the most frequent {self.reader.target_noun}"
        return self.reader.chance, f"always predicting the same {self.reader.target_noun}"

    @property
    def beats_constant_guess(self) -> bool:
        """Whether the interval of the headline lies above that of a constant guess."""
        value = self.metrics.get(self.headline)
        return value is not None and bool(self.metrics.get(f"{self.headline}_low", value) > self.constant_guess[0])

    @property
    def is_too_small(self) -> bool:
        """Whether the accuracy is above a constant guess, but not even a perfect one would be clearly above it."""
        if self.headline != "accuracy":
            return False
        total = self.metrics["examples"]
        best, _ = wilson_interval(total, total, self.metrics["confidence_level"])
        return best <= self.majority_fraction < self.metrics["accuracy"]

    @property
    def abstention(self) -> str:
        """How many answers remain, and how many of them are correct, if the model abstains; empty if none remain."""
        if "abstain_precision" not in self.metrics:
            return ""
        coverage, precision = self.format("abstain_coverage"), self.format("abstain_precision")
        return (
            f"If the model does not answer below a confidence of {percent(self.metrics['abstain_below'])}, it answers "
            f"{coverage.value} of the test {self.noun}s{self._in_brackets(coverage)}, and {precision.value} of these "
            f"answers are correct{self._in_brackets(precision)}."
        )

    def _in_brackets(self, score: Score) -> str:
        return f" ({self.level} interval {score.interval})" if score.interval else ""

    @property
    def robustness_examples(self) -> str:
        """How many examples the robustness was measured on; empty if that was not recorded."""
        count = next(
            (int(row["examples"]) for rows in self.robustness.values() for row in rows if row.get("examples")), 0
        )
        sample = "random " if count < self.metrics["examples"] else ""
        return plural(count, f"{sample}test {self.noun}") if count else ""

    @property
    def num_wrong_labels(self) -> int:
        """How many of the suspected labels are expected to be wrong; 0 without an estimate."""
        return round(sum(float(row.get("wrong_probability", 0)) for row in self.suspects))

    def format(self, name: str) -> Score:
        """Format a metric with its interval."""
        return format_score(name, self.metrics, self.reader)

    def summary(self) -> str:
        """Report the headline with its interval."""
        return f"{self.headline_text} ({self.headline_interval})"

    def lowest_recall(self, count: int) -> list[Row]:
        """Return the classes with the lowest recall."""
        return sorted((row for row in self.classes if row["recall"]), key=lambda row: float(row["recall"]))[:count]

    @property
    def small_classes(self) -> dict[str, int]:
        """Number of test examples, by label, of the classes with fewer than MIN_TEST_EXAMPLES."""
        counts = {row["label"]: int(row["count"]) for row in self.classes}
        return {label: count for label, count in counts.items() if count < MIN_TEST_EXAMPLES}


def read_evaluation(evaluate: Path, prepare: Path, num_errors: int, dataset: Dataset) -> Evaluation:
    metrics, noun = read_json(evaluate / METRICS, "evaluate"), dataset.noun
    labels = dataset.reader.labels
    predictions = read_predictions(evaluate / PREDICTIONS)
    is_same_split = [prediction.path for prediction in predictions] == read_paths(prepare, "test")
    if not is_same_split or not {prediction.label for prediction in predictions} <= set(labels):
        raise UserError(
            f"expected predictions of the test examples in {prepare}; {evaluate / PREDICTIONS} has others; "
            "run `leyden evaluate` again"
        )
    shown = select_shown(predictions, num_errors)
    pictures = encode_rows(prepare, "test", [prediction.row for prediction in shown])
    headline = dataset.reader.headline
    robustness = read_optional_table(evaluate / ROBUSTNESS.format(headline=headline, suffix=".csv"), "evaluate")
    kinds = dict.fromkeys(row["kind"] for row in robustness)
    return Evaluation(
        reader=dataset.reader,
        metrics=metrics,
        scores=[
            format_score(name, metrics, dataset.reader)
            for name in score_names(metrics)
            if name.removesuffix(f"_{headline}") not in kinds
        ],
        classes=read_table(evaluate / PER_CLASS, "evaluate"),
        confusion=count_confusion([(prediction.label, prediction.prediction) for prediction in predictions], labels),
        reliability=draw_reliability(read_table(evaluate / CALIBRATION, "evaluate"), noun),
        majority_fraction=max(Counter(prediction.label for prediction in predictions).values()) / len(predictions),
        shown=list(zip(shown, pictures, strict=True)),
        noun=noun,
        slices=read_slices(evaluate, noun),
        suspects=read_optional_table(evaluate / SUSPECTS, "evaluate"),
        robustness={kind: [row for row in robustness if row["kind"] == kind] for kind in kinds},
    )
