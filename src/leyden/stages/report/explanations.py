"""The section of explanations: maps to look at, and figures that say how far to trust them."""

from dataclasses import dataclass, field
from pathlib import Path

from leyden.artifacts import CONCEPTS, EXAMPLES, MAX_RANDOMISATION_SIMILARITY, METRICS, SUMMARY, TRUSTED
from leyden.files import read_json
from leyden.files.tables import read_table, require_file
from leyden.stages.report.influence import Channel, Influences, read_channels, read_taught
from leyden.stages.report.pictures import Picture, picture_of_file
from leyden.stages.report.tables import read_optional_table
from leyden.stages.report.wording import decimal, words

MAX_EXAMPLES = 24
MAX_CONCEPTS = 20
# Figures that only some methods or runs have.
EXTRA = {
    "gain": "Gain",
    "infidelity": "Infidelity",
    "sensitivity_max": "Sensitivity",
    "completeness_error": "Completeness error",
}


@dataclass
class Example:
    """A test example with the map of each method that drew one."""

    row: dict[str, str]
    image: Picture
    maps: list[tuple[str, Picture]]


@dataclass
class Explanations:
    """Figures by method, what the stage says of each, and the examples shown of all that were drawn."""

    metrics: dict[str, dict[str, float]]
    examples: list[Example]
    num_drawn: int
    files: dict[str, Path] = field(default_factory=dict)  # of drawn examples, by their path in the data
    judged: dict[str, dict[str, str]] = field(default_factory=dict)  # verdict and reason by method, refused ones too
    taught: list[Influences] = field(default_factory=list)
    channels: list[Channel] = field(default_factory=list)
    concepts: list[dict[str, str]] = field(default_factory=list)

    @property
    def best(self) -> str | None:
        """The best of the trusted methods, or else of all: the stage's own first one, or that of the lowest deletion AUC."""
        ranked = [name for name in self.judged if name in self.trusted]
        return (
            ranked[0]
            if ranked
            else min(self.trusted or self.metrics, key=lambda name: self.metrics[name]["deletion_auc"], default=None)
        )

    @property
    def trusted(self) -> list[str]:
        """Methods whose maps beat chance, change with what the model learned, and that the stage trusts if it judges them."""
        return [name for name, figures in self.metrics.items() if is_trusted(figures, self.judged.get(name, {}))]

    @property
    def extra(self) -> dict[str, str]:
        """Headings of the figures that not every explanation has, by key, where one does."""
        return {key: title for key, title in EXTRA.items() if any(key in figures for figures in self.metrics.values())}

    @property
    def refused(self) -> dict[str, str]:
        """Methods that could not be run on this model, with the reason."""
        return {name: row["reason"] for name, row in self.judged.items() if name not in self.metrics}

    def verdict(self) -> str:
        """Name the best method, and say whether it beats a random map."""
        if self.best is None:
            return "no explanation method was run"
        figures = self.metrics[self.best]
        against = f"deletion AUC {decimal(figures['deletion_auc'])}, against {decimal(figures['random_deletion_auc'])}; lower is better"
        who = (
            f"of {len(self.metrics)} explanation methods, {words(self.best)} is best"
            if len(self.metrics) > 1
            else f"as an explanation, {words(self.best)} was tested"
        )
        return f"{who} and {'beats' if beats_chance(figures) else 'does not beat'} a random map ({against})"

    def map_of(self, path: str) -> Picture | None:
        """Give the best trusted method's map of an example, where it was drawn."""
        if path not in self.files or self.best not in self.trusted:
            return None
        drawn = map_file(self.files[path], self.best)
        return picture_of_file(drawn) if drawn.is_file() else None


def beats_chance(figures: dict[str, float]) -> bool:
    return figures["deletion_auc"] < figures["random_deletion_auc"]


def is_trusted(figures: dict[str, float], judged: dict[str, str]) -> bool:
    if judged:
        return judged["verdict"] == TRUSTED
    return beats_chance(figures) and figures["randomisation_similarity"] <= MAX_RANDOMISATION_SIMILARITY


def read_explanations(explain: Path, prepare: Path) -> Explanations:
    metrics = {
        name: figures for name, figures in read_json(explain / METRICS, "explain").items() if "deletion_auc" in figures
    }
    judged = {row["method"]: row for row in read_optional_table(explain / SUMMARY, "explain")}
    metrics = {
        name: metrics[name] for name in (*judged, *metrics) if name in metrics
    }  # the best first, where that was judged
    rows = read_table(explain / EXAMPLES, "explain")
    return Explanations(
        metrics,
        [read_example(explain, row, list(metrics)) for row in rows[:MAX_EXAMPLES]],
        len(rows),
        {row["path"]: explain / row["file"] for row in rows},
        judged,
        read_taught(explain, prepare),
        read_channels(explain),
        read_optional_table(explain / CONCEPTS, "explain")[:MAX_CONCEPTS],
    )


def read_example(explain: Path, row: dict[str, str], methods: list[str]) -> Example:
    path = explain / row["file"]
    maps = [(name, map_file(path, name)) for name in methods]
    return Example(
        row,
        picture_of_file(require_file(path, "explain")),
        [(name, picture_of_file(drawn)) for name, drawn in maps if drawn.is_file()],
    )


def map_file(image: Path, method: str) -> Path:
    return image.with_name(f"{image.stem}-{method}.png")
