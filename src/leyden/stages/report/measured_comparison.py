"""Comparison of two runs by another headline measure than the accuracy."""

from typing import Any, NamedTuple

import numpy as np

from leyden.data.groups import number_groups
from leyden.outputs.number_format import two_digits
from leyden.outputs.score_format import format_change, score_title
from leyden.stages.report.measures import Score, format_score, score_names
from leyden.stages.report.runs import Run
from leyden.statistics.bootstrap import paired_bootstrap
from leyden.statistics.joined_measures import find_measure

NUM_RESAMPLES = 2000


class ScoreChange(NamedTuple):
    """A score of both runs; `direction` is better, worse, or empty without a change."""

    other: Score
    this: Score
    change: str
    direction: str


def compare_measured(other: Run, this: Run) -> list[ScoreChange]:
    """Return the changes of all scores."""
    names = [
        name for name in score_names(this.metrics) if "/" not in name and not name.endswith(f"_{this.reader.headline}")
    ]
    return [compare_score(name, other, this) for name in names if name in other.metrics]


def describe_headline_change(other: Run, this: Run) -> str:
    """Describe in one sentence how the headline measure changed and whether the change is significant."""
    headline, metrics = this.reader.headline, this.metrics
    if headline not in metrics or headline not in other.metrics:
        return f"The {score_title(headline)} of the runs cannot be compared."
    old, new = (format_score(headline, run.metrics, run.reader).value for run in (other, this))
    both = f"{score_title(headline)} {old} in the other run, {new} in this run"
    if not have_same_targets(other, this):
        return f"Significance not tested: the runs have different test examples ({both})."
    change = judge_change(other, this, headline)
    if change is None:
        return f"Significance not tested: run `leyden compare` with both models ({both})."
    text = format_change(headline, change["change"], this.reader.unit(headline), (change["low"], change["high"]))
    is_significant = change["p_value"] < 1 - metrics["confidence_level"]
    of_groups = "" if group_examples(this) is None else " of whole groups"
    return (
        f"{'Significant difference' if is_significant else 'No significant difference'}: {both}, change "
        f"{text}; paired bootstrap{of_groups}, p {two_digits(change['p_value'])}."
    )


def compare_score(name: str, other: Run, this: Run) -> ScoreChange:
    old, new = (format_score(name, run.metrics, run.reader) for run in (other, this))
    change = this.metrics[name] - other.metrics[name]
    direction = "" if not change else "better" if (change < 0) == (name in this.lower_is_better) else "worse"
    return ScoreChange(old, new, format_change(name, change, this.reader.unit(name)), direction)


def true_cells(run: Run) -> list[dict[str, str]]:
    """Return the path and the true values of the test examples."""
    return [
        {name: cell for name, cell in row.items() if name in ("path", "label") or name.startswith("true_")}
        for row in run.rows
    ]


def group_examples(run: Run) -> np.ndarray | None:
    """Return the group of each test example, int (N,), in the order of the table; None if no two are of one."""
    return number_groups((row["path"], run.groups.get(row["path"], "")) for row in run.rows)


def have_same_targets(other: Run, this: Run) -> bool:
    """Check whether both runs were evaluated on the same examples, with the same targets, in the same order."""
    is_hashed = all(this.hashes.values()) and all(other.hashes.values())
    same_examples = other.hashes == this.hashes if is_hashed else other.data_hash == this.data_hash
    return same_examples and true_cells(other) == true_cells(this)


def judge_change(other: Run, this: Run, headline: str) -> dict[str, Any] | None:
    """Compare the headline by the paired bootstrap; None if the tables do not hold the outputs."""
    try:
        targets = this.reader.parse_targets(this.rows)
        outputs = [run.reader.parse_rows(run.rows) for run in (other, this)]
    except ValueError:
        return None
    old, new = (
        find_measure(headline, run.reader.measures(each, targets))
        for run, each in zip((other, this), outputs, strict=True)
    )
    groups = group_examples(this)
    changes = paired_bootstrap([old], [new], this.metrics["confidence_level"], NUM_RESAMPLES, 0, groups)
    return changes[headline]._asdict() if headline in changes else None
