"""The printed line of a comparison."""

from typing import Any

from leyden.outputs.reader import OutputReader
from leyden.outputs.score_format import format_change, format_value, score_title


def summarise(comparison: dict[str, Any], reader: OutputReader) -> str:
    """Describe in one line both scores, their change, and whether it is more than noise."""
    name, unit = reader.headline, reader.unit(reader.headline)
    old, new = (format_value(name, comparison[f"{name}_{which}"], unit) for which in ("old", "new"))
    change, low, high = (comparison[f"{name}_change{end}"] for end in ("", "_low", "_high"))
    groups = f", in {comparison['groups']:,} groups resampled as a whole" if "groups" in comparison else ""
    is_counted = "lost" in comparison  # examples that are classified correctly
    test = "McNemar" if is_counted and not groups else "paired bootstrap,"
    labels = f" of {len(comparison['labels'])} shared labels" if is_counted else ""
    counts = (
        f" ({comparison['lost']:,} lost, {comparison['gained']:,} gained, {comparison['examples_left_out']:,} left out)"
        if is_counted
        else ""
    )
    return (
        f"compare: {score_title(name)} {old} old, {new} new: change {format_change(name, change, unit, (low, high))}, "
        f"{judge(comparison, name)} ({test} p {comparison[f'{name}_change_p_value']:.2g}), "
        f"on {comparison['examples']:,} test examples{labels}{groups}{counts}"
    )


def judge(comparison: dict[str, Any], name: str) -> str:
    if comparison[f"{name}_change_p_value"] >= 1 - comparison["confidence_level"]:
        return "no more than noise"
    is_better = (comparison[f"{name}_change"] > 0) == comparison["higher_is_better"]
    return f"{'better' if is_better else 'worse'} by more than noise"
