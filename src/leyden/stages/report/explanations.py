"""The section of explanations: maps to look at, and figures that say how far to trust them."""

from dataclasses import dataclass
from pathlib import Path

from leyden.files import read_json
from leyden.stages.report.pictures import Picture, picture_of_file
from leyden.stages.report.rows import expect, read_rows
from leyden.stages.report.wording import decimal, words

MAX_EXAMPLES = 24


@dataclass
class Example:
    """A test example with the map of each method that drew one."""

    row: dict[str, str]
    image: Picture
    maps: list[tuple[str, Picture]]


@dataclass
class Explanations:
    """Figures by method, and the examples shown of all that were drawn."""

    metrics: dict[str, dict[str, float]]
    examples: list[Example]
    num_drawn: int

    @property
    def best(self) -> str | None:
        """The method with the lowest deletion AUC."""
        return min(self.metrics, key=lambda name: self.metrics[name]["deletion_auc"], default=None)

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


def beats_chance(figures: dict[str, float]) -> bool:
    return figures["deletion_auc"] < figures["random_deletion_auc"]


def read_explanations(explain: Path) -> Explanations:
    metrics = read_json(explain / "metrics.json", "explain")
    rows = read_rows(explain / "examples.csv", "explain")
    return Explanations(metrics, [read_example(explain, row, list(metrics)) for row in rows[:MAX_EXAMPLES]], len(rows))


def read_example(explain: Path, row: dict[str, str], methods: list[str]) -> Example:
    path = explain / row["file"]
    maps = [(name, path.with_name(f"{path.stem}-{name}.png")) for name in methods]
    return Example(row, picture_of_file(expect(path, "explain")), [(name, picture_of_file(drawn)) for name, drawn in maps if drawn.is_file()])
