"""The results of an evaluation by measures: of tasks where an example does not have exactly one label."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from leyden.artifacts import LARGEST_ERRORS, MEASURES, METRICS, OVERLAYS, PER_LABEL, PREDICTIONS, ROBUSTNESS
from leyden.data.packed import read_paths
from leyden.errors import UserError
from leyden.files import read_json
from leyden.files.tables import read_table
from leyden.outputs.number_format import four_digits
from leyden.outputs.reader import OutputReader
from leyden.outputs.score_format import format_value, score_title
from leyden.stages.report.dataset import Dataset
from leyden.stages.report.evaluation import MIN_TEST_EXAMPLES, Evaluation
from leyden.stages.report.formatting import capitalize_first, plural
from leyden.stages.report.measures import ENDS, Score, format_score
from leyden.stages.report.pictures import Picture, encode_file, encode_rows
from leyden.stages.report.runs import read_lower_is_better
from leyden.stages.report.slices import Slices, read_slices
from leyden.stages.report.tables import read_optional_table

MAX_PLOT_PX = 900
MAX_OVERLAY_PX = 640
PLOT_CAPTIONS = {
    "predicted": "on the dashed line, predictions equal the true values",
    "residuals": "a slope shows a bias towards the mean",
    "reliability": "on the dashed line, as many examples have a label as its probability says",
}
Row = dict[str, str]


class LargeError(NamedTuple):
    """A test example that was predicted badly: what is true and what was predicted, by name, and its picture."""

    path: str
    values: list[tuple[str, str, str]]
    error: str
    picture: Picture | None
    shows_masks: bool


class LabelScores(NamedTuple):
    """A label, its test examples (None if every example has it), and each measure as number, text and interval."""

    label: str
    num_examples: int | None
    scores: list[tuple[str, str, str]]


class Baseline(NamedTuple):
    """A measure's value for a constant guess, which the model's should exceed, and what is guessed."""

    name: str
    value: float
    guess: str


@dataclass
class MeasuredEvaluation:
    """The results of `leyden evaluate`, in the words of the reader of the model's outputs."""

    reader: OutputReader
    metrics: dict[str, Any]
    lower_is_better: Collection[str]
    scores: list[Score]
    label_measures: list[str]  # titles of the columns of `labels`
    labels: list[LabelScores]
    baselines: list[Baseline]
    plots: list[tuple[str, Picture]]
    shown: list[LargeError]
    noun: str
    slices: Slices
    robustness: dict[str, list[Row]]  # by kind of corruption or attack

    @property
    def level(self) -> str:
        return f"{100 * self.metrics['confidence_level']:g}%"

    @property
    def headline(self) -> str:
        return str(self.metrics["headline"])

    @property
    def headline_title(self) -> str:
        return score_title(self.headline)

    @property
    def headline_text(self) -> str:
        examples = plural(self.metrics["examples"], f"test {self.noun}")
        if self.headline not in self.metrics:
            return f"{self.headline_title} is undefined on {examples}"
        return f"{self.headline_title} {self.format(self.headline).value} on {examples}"

    @property
    def headline_interval(self) -> str:
        return f"{self.level} interval {self.format(self.headline).interval or 'unknown'}"

    def summary(self) -> str:
        """Report the headline measure with its interval."""
        return f"{self.headline_text} ({self.headline_interval})"

    def format(self, name: str) -> Score:
        """Format a metric with its interval."""
        return format_score(name, self.metrics, self.reader)

    def text(self, name: str, value: float | str | None) -> str:
        return format_value(name, value, self.reader.unit(name))

    def headline_cell(self, value: float | str | None) -> str:
        return self.text(self.headline, value)

    def robustness_interval(self, row: Row) -> str:
        low, high = (row.get(f"{self.headline}_{end}") for end in ("low", "high"))
        return f"{self.headline_cell(low)} to {self.headline_cell(high)}" if low and high else ""

    def beats(self, baseline: Baseline) -> bool:
        """Return whether the interval of a measure lies above what a constant guess reaches."""
        value = self.metrics.get(baseline.name)
        return value is not None and bool(self.metrics.get(f"{baseline.name}_low", value) > baseline.value)

    @property
    def beats_constant_guess(self) -> bool:
        return all(map(self.beats, self.baselines))

    @property
    def robustness_examples(self) -> str:
        """How many examples the robustness was measured on; empty if that was not recorded."""
        rows = [row for rows in self.robustness.values() for row in rows]
        count = next((int(row["examples"]) for row in rows if row.get("examples")), 0)
        sample = "random " if count < self.metrics["examples"] else ""
        return plural(count, f"{sample}test {self.noun}") if count else ""

    @property
    def small_labels(self) -> dict[str, int]:
        """Number of test examples, by label, of the labels that fewer than MIN_TEST_EXAMPLES have."""
        return {
            row.label: row.num_examples
            for row in self.labels
            if row.num_examples is not None and row.num_examples < MIN_TEST_EXAMPLES
        }


AnyEvaluation = Evaluation | MeasuredEvaluation


def read_measured(evaluate: Path, prepare: Path, num_errors: int, dataset: Dataset) -> MeasuredEvaluation:
    reader, noun = dataset.reader, dataset.noun
    metrics = read_json(evaluate / METRICS, "evaluate")
    paths = read_paths(prepare, "test")
    rows = read_table(evaluate / PREDICTIONS, "evaluate", ["path"])
    if [row["path"] for row in rows] != paths:
        raise UserError(
            f"expected predictions of the test examples in {prepare}; {evaluate / PREDICTIONS} has others; "
            "run `leyden evaluate` again"
        )
    measures = read_table(evaluate / MEASURES, "evaluate", ["measure"])
    robustness = read_optional_table(
        evaluate / ROBUSTNESS.format(headline=metrics["headline"], suffix=".csv"), "evaluate"
    )
    kinds = dict.fromkeys(row["kind"] for row in robustness)
    evaluation = MeasuredEvaluation(
        reader=reader,
        metrics=metrics,
        lower_is_better=read_lower_is_better(evaluate),
        scores=[],
        label_measures=[],
        labels=[],
        baselines=list_baselines(dataset, metrics, rows),
        plots=[(path.stem, encode_file(path, MAX_PLOT_PX)) for path in sorted((evaluate / "plots").glob("*.png"))],
        shown=read_largest_errors(evaluate, prepare, reader, paths, num_errors),
        noun=noun,
        slices=read_slices(evaluate, noun, reader.error_noun),
        robustness={kind: [row for row in robustness if row["kind"] == kind] for kind in kinds},
    )
    evaluation.scores = [evaluation.format(row["measure"]) for row in measures if "/" not in row["measure"]]
    evaluation.label_measures, evaluation.labels = read_label_scores(evaluate, dataset, evaluation)
    return evaluation


def read_label_scores(
    evaluate: Path, dataset: Dataset, evaluation: MeasuredEvaluation
) -> tuple[list[str], list[LabelScores]]:
    """Return the titles of the measures of labels, and the labels' scores."""
    rows = read_optional_table(evaluate / PER_LABEL, "evaluate")
    columns = list(rows[0]) if rows else []
    bounds = {f"{column}_{end}" for column in columns for end in ("low", "high")}
    names = [column for column in columns if column != "label" and column not in bounds]
    counts = {row.label: row.counts[-1] for row in dataset.classes}
    labels = []
    for row in rows:
        label = row["label"]
        scores = []
        for name in names:
            value, low, high = (evaluation.text(f"{name}/{label}", row.get(f"{name}{end}")) for end in ENDS)
            scores.append((row.get(name, ""), value, f"{low} to {high}" if row.get(f"{name}_low") else ""))
        labels.append(LabelScores(label, counts.get(label), scores))
    return list(map(score_title, names)), labels


def list_baselines(dataset: Dataset, metrics: dict[str, Any], rows: Sequence[Row]) -> list[Baseline]:
    """Return what a constant guess reaches on the test split, where that means something and can be computed."""
    reader, baselines = dataset.reader, []
    if reader.predicts_numbers:
        baselines = [Baseline("r2", 0.0, "always predicting the mean")]
    elif reader.has_label_set:
        present = [row.counts[-1] / dataset.counts["test"] for row in dataset.classes if row.counts[-1]]
        prevalence = sum(present) / max(1, len(present))
        baselines = [
            Baseline("mean_average_precision", prevalence, "random scores"),
            Baseline("macro_f1", 0.0, "predicting no label"),
        ]
    elif reader.is_dense:
        shares = [sum(float(row[f"true_share_{label}"]) for row in rows) for label in reader.labels]
        largest = max(shares)
        guess = f"always predicting {reader.labels[shares.index(largest)]}"
        baselines = [Baseline("mean_iou", largest / sum(shares) / sum(share > 0 for share in shares), guess)]
    return [baseline for baseline in baselines if baseline.name in metrics]


def read_largest_errors(
    evaluate: Path, prepare: Path, reader: OutputReader, paths: list[str], count: int
) -> list[LargeError]:
    rows = read_table(evaluate / LARGEST_ERRORS, "evaluate", ["path", "error"])[:count]
    numbers = {path: number for number, path in enumerate(paths)}
    images = encode_rows(prepare, "test", [numbers[row["path"]] for row in rows])
    overlays = {int(path.stem.rpartition("_")[2]): path for path in (evaluate / OVERLAYS).glob("*.png")}
    shown = []
    for row, image in zip(rows, images, strict=True):
        overlay = overlays.get(numbers[row["path"]])
        picture = encode_file(overlay, MAX_OVERLAY_PX) if overlay else image
        shown.append(LargeError(row["path"], list_values(reader, row), row["error"], picture, overlay is not None))
    return shown


def list_values(reader: OutputReader, row: Row) -> list[tuple[str, str, str]]:
    """Return what is true and what was predicted of an example, by name; of masks, nothing: their picture says more."""
    if reader.has_label_set:
        return [("", row["true_labels"] or "no label", row["labels"] or "no label")]
    if not reader.predicts_numbers:
        return []
    values = []
    for label in reader.labels:
        low, high = row.get(f"{label}_low"), row.get(f"{label}_high")
        interval = f" ({four_digits(low)} to {four_digits(high)})" if low and high else ""
        unit = f" {reader.unit(f'mae/{label}')}".rstrip()
        values.append((label, four_digits(row[f"true_{label}"]), f"{four_digits(row[label])}{interval}{unit}"))
    return values


def describe_baseline(evaluation: MeasuredEvaluation, baseline: Baseline) -> str:
    """Compare a measure with a constant guess in a clause."""
    score = evaluation.format(baseline.name)
    verb = "clearly above" if evaluation.beats(baseline) else "not clearly above"
    interval = f" ({score.interval})" if score.interval and baseline.name != evaluation.headline else ""
    value = evaluation.text(baseline.name, baseline.value) if baseline.value else "0"
    subject = (
        "" if baseline.name == evaluation.headline else f"{capitalize_first(score.title)} {score.value}{interval} is "
    )
    return f"{subject}{verb} {value}, that of {baseline.guess}"
