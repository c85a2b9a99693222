"""Made-up results on which a judgement of the report must speak, or be silent."""

from typing import Any, NamedTuple

from leyden.stages.report.findings import list_findings
from leyden.stages.report.results import Results
from tests.stages.report.fake_results import (
    make_dataset,
    make_evaluation,
    make_results,
    make_slice,
    make_training,
)


class Case(NamedTuple):
    """What a judgement says (a part of its text), and results on which it must say so and must not."""

    text: str
    speaks: Results
    silent: Results = make_results()


def evaluated(metrics: dict[str, Any] | None = None, **changes: Any) -> Results:
    return make_results(evaluation=make_evaluation(metrics, **changes))


def trained(*arguments: Any, **options: Any) -> Results:
    return make_results(training=make_training(*arguments, **options))


def prepared(**changes: Any) -> Results:
    return make_results(dataset=make_dataset(**changes))


def interval(name: str, low: float, value: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def robust(low: float, value: float, high: float, kind: str = "blur", examples: int = 400) -> Results:
    row = {"kind": kind, "strength": "1", "accuracy": value, "accuracy_low": low, "accuracy_high": high}
    return evaluated(robustness={kind: [{key: str(value) for key, value in (row | {"examples": examples}).items()}]})


AT_CHANCE = interval("accuracy", 0.48, 0.55, 0.62)
NO_REQUIREMENT = {"required": {}}
THREE_RIGHT = interval("accuracy", 0.27, 1, 1) | {"examples": 3, "errors": 0}
CALIBRATED, BORDERLINE, MISCALIBRATED = (
    evaluated(interval("calibration_error", *bounds) | NO_REQUIREMENT)
    for bounds in ((0.01, 0.02, 0.03), (0.03, 0.051, 0.07), (0.06, 0.08, 0.1))
)
WEAK = make_slice("group", "camera 1", 30, 0.5, "True")
NEARLY_ALL = [WEAK, make_slice("class", "bee", 99, 0.9, ""), make_slice("class", "ant", 1, 0, "")]
TOO_SMALL = make_slice("class", "bee", 3, 0, "")
SEQUENCES = make_dataset(input={"features": 2, "mean": [0, 0], "std": [1, 1]}, spreads={}, modes={"npy": 9})
GAIN = {"gain": 0.1, "gain_low": 0.05, "gain_high": 0.3}
FEW = make_dataset({"ant": 20, "bee": 30})
SUSPECT = {"path": "a.png", "label": "ant", "suggested": "bee", "suggested_probability": "0.9"}


def found(results: Results) -> list[Any]:
    return list_findings(results.dataset)
