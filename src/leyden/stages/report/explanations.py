"""The section of explanations: attribution maps, and metrics of how far they can be trusted."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from leyden.artifacts import (
    CHANNELS,
    CONCEPTS,
    EXAMPLES,
    INFLUENCE,
    MAX_RANDOMISATION_SIMILARITY,
    METRICS,
    SUMMARY,
    TRUSTED,
)
from leyden.files import read_json
from leyden.files.tables import read_table, require_file
from leyden.outputs.number_format import decimal
from leyden.outputs.score_format import as_words
from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.measured import AnyEvaluation
from leyden.stages.report.pictures import Picture, encode_file, encode_rows
from leyden.stages.report.predictions import Prediction
from leyden.stages.report.tables import read_optional_table

MAX_EXAMPLES = 24
MAX_CONCEPTS = 20
# Metrics that only some methods or runs have, with their headings.
OPTIONAL_METRICS = {
    "gain": "Gain",
    "infidelity": "Infidelity",
    "sensitivity_max": "Sensitivity",
    "completeness_error": "Completeness error",
}


# Which label is explained, "" if there is no choice, and the map of each method that drew one
Maps = tuple[str, list[tuple[str, Picture]]]
# A test example's row and image, and its maps, those of each label that is explained
Example = tuple[dict[str, str], Picture, list[Maps]]
# A test example's row and image, and those of its most helpful and then its most harmful training examples
Influences = tuple[dict[str, str], Picture, list[tuple[dict[str, str], Picture | None]]]


class GalleryItem(NamedTuple):
    """A prediction; sequences have no image, and only the examples that `leyden explain` drew have a map."""

    prediction: Prediction
    image: Picture | None
    map: Picture | None


@dataclass
class Explanations:
    """The results of `leyden explain`: metrics and verdict of each method, and the first of the examples drawn."""

    metrics: dict[str, dict[str, float]]
    examples: list[Example]
    num_drawn: int
    files: dict[str, Path]  # drawn examples by their path in the data
    verdicts: dict[str, dict[str, str]]  # rows of summary.csv, the best method first
    influences: list[Influences]
    channels: list[tuple[dict[str, str], Picture]]
    concepts: list[dict[str, str]]

    @property
    def best(self) -> str | None:
        """The first method of summary.csv that was run; without this file, the one with the lowest deletion AUC."""
        by_deletion = sorted(self.trusted or self.metrics, key=lambda name: self.metrics[name]["deletion_auc"])
        ranked = [name for name in self.verdicts if name in self.metrics]
        return next(iter(ranked or by_deletion), None)

    @property
    def trusted(self) -> list[str]:
        return [name for name, metrics in self.metrics.items() if is_trusted(metrics, self.verdicts.get(name, {}))]

    @property
    def explains_several(self) -> bool:
        """Whether an example has maps of several labels."""
        return any(len(maps) > 1 for _, _, maps in self.examples)

    @property
    def optional_metrics(self) -> dict[str, str]:
        """Headings, by key, of the optional metrics that at least one method has."""
        keys = {key for metrics in self.metrics.values() for key in metrics}
        return {key: title for key, title in OPTIONAL_METRICS.items() if key in keys}

    @property
    def refused(self) -> dict[str, str]:
        """Methods that could not be run on this model, with the reason."""
        return {name: row["reason"] for name, row in self.verdicts.items() if name not in self.metrics}

    def summary(self) -> str:
        """Name the best method and report whether it beats a random map."""
        if self.best is None:
            return "no explanation method was run"
        metrics, name = self.metrics[self.best], as_words(self.best)
        link, verb = ("and", "beats") if beats_chance(metrics) else ("but", "does not clearly beat")
        outcome = f"{verb} a random map ({evidence(metrics)})"
        if beats_chance(metrics) and self.best not in self.trusted:
            outcome += ", but its maps hardly depend on what the model has learned"
        if len(self.metrics) > 1:
            return f"of {len(self.metrics)} explanation methods, {name} is best {link} {outcome}"
        return f"the only explanation method, {name}, {outcome}"

    def read_map(self, path: str) -> Picture | None:
        """Return an example's map by the best method, or None if that is not trusted or drew no map of it."""
        if path not in self.files or self.best not in self.trusted:
            return None
        file = map_path(self.files[path], self.best)
        return encode_file(file) if file.is_file() else None


def beats_chance(metrics: dict[str, float]) -> bool:
    """Return whether the interval of the gain over random maps is above 0; without one, compare the deletion AUC."""
    if "gain_low" in metrics:
        return metrics["gain_low"] > 0
    return metrics["deletion_auc"] < metrics["random_deletion_auc"]


def evidence(metrics: dict[str, float]) -> str:
    """State the numbers that `beats_chance` compares."""
    if "gain_low" in metrics:
        gain, low, high = (decimal(metrics[f"gain{end}"]) for end in ("", "_low", "_high"))
        return f"gain {gain}, interval {low} to {high}; 0 is chance"
    deletion, random = decimal(metrics["deletion_auc"]), decimal(metrics["random_deletion_auc"])
    return f"deletion AUC {deletion}, against {random}; lower is better"


def is_trusted(metrics: dict[str, float], verdict: dict[str, str]) -> bool:
    """Follow the verdict of `leyden explain`; without one, check that maps beat chance and depend on the weights."""
    if verdict:
        return verdict["verdict"] == TRUSTED
    return beats_chance(metrics) and metrics["randomisation_similarity"] <= MAX_RANDOMISATION_SIMILARITY


def build_gallery(evaluation: AnyEvaluation | None, explanations: Explanations | None) -> list[GalleryItem]:
    """Join the predictions that are shown with their attribution maps."""
    return [
        GalleryItem(prediction, image, explanations.read_map(prediction.path) if explanations else None)
        for prediction, image in (evaluation.shown if isinstance(evaluation, Evaluation) else [])
    ]


def read_explanations(explain: Path, prepare: Path) -> Explanations:
    verdicts = {row["method"]: row for row in read_optional_table(explain / SUMMARY, "explain")}
    measured = read_json(explain / METRICS, "explain")
    names = [name for name in dict.fromkeys([*verdicts, *measured]) if "deletion_auc" in measured.get(name, {})]
    rows = read_table(explain / EXAMPLES, "explain")
    # Rows of the same example, one for each label that is explained, follow each other.
    examples = [list(same) for _, same in groupby(rows, lambda row: row["path"])]
    return Explanations(
        metrics={name: measured[name] for name in names},
        examples=[read_example(explain, same, names) for same in examples[:MAX_EXAMPLES]],
        num_drawn=len(examples),
        files={same[0]["path"]: explain / same[0]["file"] for same in examples},
        verdicts=verdicts,
        influences=read_influences(explain, prepare),
        channels=read_channels(explain),
        concepts=read_optional_table(explain / CONCEPTS, "explain")[:MAX_CONCEPTS],
    )


def read_example(explain: Path, rows: list[dict[str, str]], methods: list[str]) -> Example:
    """Read the image and the maps of an example from its rows, one for each label that is explained."""
    maps: list[Maps] = []
    for row in rows:
        image = require_file(explain / row["file"], "explain")
        files = [(name, map_path(image, name)) for name in methods]
        drawn = [(name, encode_file(file)) for name, file in files if file.is_file()]
        maps.append((row.get("explained", ""), drawn))
    return rows[0], encode_file(explain / rows[0]["file"]), maps


def map_path(image: Path, method: str) -> Path:
    return image.with_name(f"{image.stem}-{method}.png")


def read_influences(explain: Path, prepare: Path) -> list[Influences]:
    rows = read_optional_table(explain / INFLUENCE, "explain")
    images = encode_rows(prepare, "train", [int(row["training_row"]) for row in rows]) if rows else []
    influences: list[Influences] = []
    for file, group in groupby(zip(rows, images, strict=True), key=lambda example: example[0]["file"]):
        examples = list(group)
        influences.append((examples[0][0], encode_file(explain / file), examples))
    return influences


def read_channels(explain: Path) -> list[tuple[dict[str, str], Picture]]:
    """Read the channel that contributes most to each class, with the image on which it contributes most."""
    rows = read_optional_table(explain / CHANNELS, "explain")
    return [(row, encode_file(explain / row["file"])) for row in rows if row["file"]]
