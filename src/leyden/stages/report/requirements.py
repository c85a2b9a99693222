"""The requirements set by `evaluate.require`: met, missed, or within the interval of the score."""

from collections.abc import Collection
from typing import Any, NamedTuple

from leyden.outputs.score_format import as_words

MET, MISSED, UNCERTAIN = "met", "missed", "uncertain"


class Requirement(NamedTuple):
    """A required bound of a metric, and whether the metric's whole interval, its value or neither meets it."""

    name: str
    text: str
    outcome: str


def list_requirements(metrics: dict[str, Any], lower_is_better: Collection[str]) -> list[Requirement]:
    return [
        judge_requirement(name, bound, metrics, lower_is_better) for name, bound in metrics.get("required", {}).items()
    ]


def judge_requirement(
    name: str, bound: float, metrics: dict[str, Any], lower_is_better: Collection[str]
) -> Requirement:
    is_maximum = name.removesuffix("_low").removesuffix("_high") in lower_is_better
    value, worst = metrics[name], metrics.get(f"{name}_{'high' if is_maximum else 'low'}", metrics[name])
    is_met, is_certain = ((each <= bound if is_maximum else each >= bound) for each in (value, worst))
    text = f"{as_words(name)} of at {'most' if is_maximum else 'least'} {bound:g}"
    return Requirement(name, text, (MET if is_certain else UNCERTAIN) if is_met else MISSED)
