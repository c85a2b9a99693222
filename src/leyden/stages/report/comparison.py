"""Comparison of two runs: what changed, and whether the difference in the headline measure is significant."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from leyden.data.groups import number_groups
from leyden.errors import UserError
from leyden.outputs.number_format import UNKNOWN, parse_number, percent, two_digits
from leyden.outputs.score_format import format_change
from leyden.stages.report.charts import draw_curves
from leyden.stages.report.exports import file_label
from leyden.stages.report.formatting import plural
from leyden.stages.report.measured_comparison import (
    ScoreChange,
    compare_measured,
    compare_score,
    describe_headline_change,
    have_same_targets,
)
from leyden.stages.report.measures import ENDS, score_names
from leyden.stages.report.runs import Run
from leyden.statistics.accuracy_change import compare_paired

MAX_CHARTS = 4


class ClassChange(NamedTuple):
    """A class's recall in both runs, and its test examples lost and gained; None if the test examples differ."""

    label: str
    other: float | None
    this: float | None
    change: float | None
    lost: int | None
    gained: int | None


# An exported file's name, its bytes and its latency in ms for one example in both runs (other, this), and the speedup
ExportChange = tuple[str, tuple[float | None, ...], tuple[float | None, ...], float | None]
Difference = tuple[str, str, str]  # a setting, or a part of the provenance: name, other value, this value


@dataclass
class Comparison:
    """This run compared with another; `is_paired` is whether both have the same test examples."""

    name: str
    verdict: str
    is_paired: bool
    scores: list[ScoreChange]
    classes: list[ClassChange]
    exports: list[ExportChange]
    charts: list[tuple[str, Markup]]
    settings: list[Difference]
    provenance: list[Difference]


def compare_runs(other: Run, this: Run) -> Comparison:
    if type(this.reader) is not type(other.reader):
        raise UserError(
            f"expected report.against to be a run of {this.reader.name}, like this one; got {other.reader.name} in "
            f"{other.name}; compare runs of the same task"
        )
    if not this.reader.has_one_label:
        verdict, is_paired = describe_headline_change(other, this), have_same_targets(other, this)
        return make_comparison(other, this, verdict, is_paired, compare_measured(other, this), [])
    is_paired = have_same_test_examples(other, this)
    if this.reader.headline == "accuracy":
        verdict = describe_change(other, this, is_paired)
    else:
        verdict = describe_headline_change(other, this)
    scores, classes = compare_scores(other, this), compare_classes(other, this, is_paired)
    return make_comparison(other, this, verdict, is_paired, scores, classes)


def compare_predictions(other: Run, this: Run) -> dict[str, Any] | None:
    """Compare the accuracies of runs with the same test examples; None if these are all of one group."""
    old, new = (np.array([run.predictions[path].is_correct for path in this.predictions]) for run in (other, this))
    groups = number_groups((path, this.groups.get(path, "")) for path in this.predictions)
    if groups is not None and groups.max() == 0:
        return None
    return compare_paired(old, new, this.metrics["confidence_level"], groups)


def make_comparison(
    other: Run,
    this: Run,
    verdict: str,
    is_paired: bool,
    scores: list[ScoreChange],
    classes: list[ClassChange],
) -> Comparison:
    return Comparison(
        name=other.name,
        verdict=verdict,
        is_paired=is_paired,
        scores=scores,
        classes=classes,
        exports=compare_exports(other, this),
        charts=[
            (name, draw_curves(name, this.curves[name], None, other.curves[name]))
            for name in list(this.curves)[:MAX_CHARTS]
            if name in other.curves
        ],
        settings=list_differences(other.config, this.config),
        provenance=list_differences(provenance_of(other), provenance_of(this)),
    )


def have_same_test_examples(other: Run, this: Run) -> bool:
    """Check whether both runs were evaluated on examples of the same paths, labels and contents.

    Where the hash of an example is not known, the hashes of the whole data sets are compared.
    """
    labels = [{path: row.label for path, row in run.predictions.items()} for run in (other, this)]
    if labels[0] != labels[1]:
        return False
    is_hashed = all(this.hashes.values()) and all(other.hashes.values())
    return other.hashes == this.hashes if is_hashed else other.data_hash == this.data_hash


def describe_change(other: Run, this: Run, is_paired: bool) -> str:
    """Describe in one sentence how the accuracy changed and whether the change is significant."""
    old, new = (percent(run.metrics["accuracy"]) for run in (other, this))
    both = f"accuracy {old} in the other run, {new} in this run"
    if not is_paired:
        return f"Significance not tested: the runs have different test examples ({both})."
    if (paired := compare_predictions(other, this)) is None:
        return f"Significance not tested: the test examples are all of one group ({both})."
    test = f"paired bootstrap of {paired['groups']:,} groups," if "groups" in paired else "McNemar's exact"
    is_significant = paired["accuracy_change_p_value"] < 1 - paired["confidence_level"]
    change, low, high = (paired[f"accuracy_change{end}"] for end in ENDS)
    text = format_change("accuracy", change, interval=(low, high))
    return (
        f"{'Significant difference' if is_significant else 'No significant difference'}: {both}, "
        f"{text}; {paired['gained']:,} gained and {paired['lost']:,} lost "
        f"of {plural(paired['examples'], 'test example')}, "
        f"{test} p {two_digits(paired['accuracy_change_p_value'])}."
    )


def compare_scores(other: Run, this: Run) -> list[ScoreChange]:
    return [compare_score(name, other, this) for name in score_names(this.metrics) if name in other.metrics]


def compare_classes(other: Run, this: Run, is_paired: bool) -> list[ClassChange]:
    lost, gained = (count_only_correct_in(*runs) if is_paired else None for runs in ((other, this), (this, other)))
    changes = []
    for label in this.classes | other.classes:
        old, new = (parse_number(run.classes.get(label, {}).get("recall")) for run in (other, this))
        change = None if old is None or new is None else new - old
        counts = (None if counter is None else counter[label] for counter in (lost, gained))
        changes.append(ClassChange(label, old, new, change, *counts))
    return changes


def count_only_correct_in(run: Run, reference: Run) -> Counter[str]:
    """Count by label the test examples that `run` classified correctly and `reference` did not."""
    return Counter(
        row.label
        for path, row in run.predictions.items()
        if row.is_correct and not reference.predictions[path].is_correct
    )


def compare_exports(other: Run, this: Run) -> list[ExportChange]:
    other_files, this_files = (
        {file_label(row): row for row in (run.exports.files if run.exports else [])} for run in (other, this)
    )
    changes: list[ExportChange] = []
    for name in this_files | other_files:
        old, new = other_files.get(name, {}), this_files.get(name, {})
        latencies_ms = old_ms, new_ms = old.get("latency_ms_b1_p50"), new.get("latency_ms_b1_p50")
        speedup = old_ms / new_ms if old_ms and new_ms else None
        changes.append((name, (old.get("bytes"), new.get("bytes")), latencies_ms, speedup))
    return changes


def provenance_of(run: Run) -> dict[str, str]:
    """Return data, code version and package versions of a run, as far as they were recorded."""
    examples = {f"{split} examples": f"{count:,}" for split, count in run.counts.items()}
    versions = {f"version of {name}": version for name, version in run.provenance["versions"].items()}
    return {"data hash": run.data_hash} | examples | {"code version": run.provenance["code_version"]} | versions


def list_differences(other: dict[str, str], this: dict[str, str]) -> list[Difference]:
    values = [(name, other.get(name, UNKNOWN), this.get(name, UNKNOWN)) for name in this | other]
    return [row for row in values if row[1] != row[2]]
