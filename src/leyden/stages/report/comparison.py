"""Two runs side by side: what changed, and whether the scores differ by more than noise."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from leyden.artifacts import LESS_IS_BETTER
from leyden.stages.report.charts import draw_curves
from leyden.stages.report.evaluation import NOT_SCORES, score_of
from leyden.stages.report.exports import name_of
from leyden.stages.report.runs import Run
from leyden.stages.report.wording import UNKNOWN, percent, plural, points, short
from leyden.statistics.mcnemar import compare_paired

NUM_RESAMPLES, SEED = 10_000, 0
MAX_CHARTS = 4


class Figure(NamedTuple):
    """A figure of both runs as text; `trend` is better, worse, or empty where that cannot be said."""

    title: str
    other: str
    other_interval: str
    this: str
    this_interval: str
    change: str
    trend: str


class ClassChange(NamedTuple):
    """A class's recall in both runs; examples of it lost and gained where the test examples are the same."""

    label: str
    other: float | None
    this: float | None
    change: float | None
    lost: int | None
    gained: int | None


class ExportChange(NamedTuple):
    """An exported file's size in bytes and time for one example in both runs; `speed_up` over the other run's."""

    name: str
    sizes: tuple[float | None, float | None]
    latencies_ms: tuple[float | None, float | None]
    speed_up: float | None


class Difference(NamedTuple):
    """A setting, or a part of the provenance, that the runs do not share."""

    name: str
    other: str
    this: str


@dataclass
class Comparison:
    """This run beside another; `paired` is the test on the same test examples, None where they are others."""

    name: str
    verdict: str
    paired: dict[str, Any] | None
    figures: list[Figure]
    classes: list[ClassChange]
    exports: list[ExportChange]
    charts: list[tuple[str, Markup]]
    settings: list[Difference]
    provenance: list[Difference]


def compare_runs(other: Run, this: Run) -> Comparison:
    """Compare this run with another."""
    paired = test_pairs(other, this) if have_same_test(other, this) else None
    return Comparison(
        name=other.name,
        verdict=verdict_of(other, this, paired),
        paired=paired,
        figures=compare_figures(other.metrics, this.metrics),
        classes=compare_classes(other, this, paired is not None),
        exports=compare_exports(other, this),
        charts=[
            (name, draw_curves(name, this.curves[name], None, other.curves[name]))
            for name in list(this.curves)[:MAX_CHARTS]
            if name in other.curves
        ],
        settings=differences(other.config, this.config),
        provenance=differences(told(other), told(this)),
    )


def have_same_test(other: Run, this: Run) -> bool:
    """Tell whether both runs were scored on the same examples: those of the same contents and labels, or else the whole data's."""
    if {path: row.label for path, row in other.predictions.items()} != {
        path: row.label for path, row in this.predictions.items()
    }:
        return False
    known = all(this.hashes.values()) and all(other.hashes.values())
    return other.hashes == this.hashes if known else other.data_hash == this.data_hash


def test_pairs(other: Run, this: Run) -> dict[str, Any]:
    before, after = (np.array([run.predictions[path].is_right for path in this.predictions]) for run in (other, this))
    return compare_paired(before, after, NUM_RESAMPLES, this.metrics["confidence_level"], SEED)


def verdict_of(other: Run, this: Run, paired: dict[str, Any] | None) -> str:
    """Say in one line whether the accuracy changed by more than noise."""
    both = f"accuracy {percent(other.metrics['accuracy'])} there, {percent(this.metrics['accuracy'])} here"
    if paired is None:
        return f"Not to be tested: the runs have different test examples ({both})."
    noise = (
        "More than noise"
        if paired["accuracy_change_p_value"] < 1 - paired["confidence_level"]
        else "No more than noise"
    )
    interval = f"{points(paired['accuracy_change_low'])} to {points(paired['accuracy_change_high'])}"
    counted = f"{paired['gained']:,} gained and {paired['lost']:,} lost of {plural(paired['examples'], 'test example')}"
    change = points(paired["accuracy_change"])
    return f"{noise}: {both}, {change} points ({interval}); {counted}, McNemar's exact p {short(paired['accuracy_change_p_value'])}."


def compare_figures(other: dict[str, Any], this: dict[str, Any]) -> list[Figure]:
    bounds = {f"{name}_{end}" for name in this for end in ("low", "high")}
    found = []
    for name in [name for name in this if name in other and name not in bounds and name not in NOT_SCORES]:
        before, after = score_of(name, other), score_of(name, this)
        change = this[name] - other[name]
        trend = "" if not change else "better" if (change < 0) == (name in LESS_IS_BETTER) else "worse"
        written = f"{points(change)} points" if after.value.endswith("%") else f"{change:+.2g}" if change else "0"
        found.append(Figure(after.title, before.value, before.interval, after.value, after.interval, written, trend))
    return found


def compare_classes(other: Run, this: Run, are_paired: bool) -> list[ClassChange]:
    lost, gained = (
        Counter(
            row.label
            for path, row in better.predictions.items()
            if row.is_right and not worse.predictions[path].is_right
        )
        if are_paired
        else None
        for better, worse in ((other, this), (this, other))
    )
    found = []
    for label in this.classes | other.classes:
        before, after = (float(run.classes.get(label, {}).get("recall") or "nan") for run in (other, this))
        counts = (None if counted is None else counted[label] for counted in (lost, gained))
        found.append(ClassChange(label, known(before), known(after), known(after - before), *counts))
    return found


def compare_exports(other: Run, this: Run) -> list[ExportChange]:
    theirs, ours = ({name_of(row): row for row in (run.exports.files if run.exports else [])} for run in (other, this))
    found = []
    for name in ours | theirs:
        rows = theirs.get(name, {}), ours.get(name, {})
        old, new = latencies = (rows[0].get("latency_ms_b1_p50"), rows[1].get("latency_ms_b1_p50"))
        found.append(
            ExportChange(
                name, (rows[0].get("bytes"), rows[1].get("bytes")), latencies, old / new if old and new else None
            )
        )
    return found


def told(run: Run) -> dict[str, str]:
    """Tell where a run comes from, as far as that is recorded."""
    examples = {f"{split} examples": f"{count:,}" for split, count in run.counts.items()}
    versions = {f"version of {name}": version for name, version in run.provenance["versions"].items()}
    return {"data hash": run.data_hash} | examples | {"code version": run.provenance["code_version"]} | versions


def differences(other: dict[str, str], this: dict[str, str]) -> list[Difference]:
    names = dict.fromkeys([*this, *other])
    return [
        Difference(name, other.get(name, UNKNOWN), this.get(name, UNKNOWN))
        for name in names
        if other.get(name) != this.get(name)
    ]


def known(value: float) -> float | None:
    return None if np.isnan(value) else value
