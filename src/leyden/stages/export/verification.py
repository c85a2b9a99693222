"""Compare an exported file with its checkpoint on real test examples, in its own runtime and a separate process."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import leyden
from leyden.errors import UserError
from leyden.outputs.reader import OutputReader
from leyden.runtimes.examples import Examples, batches, load_examples
from leyden.runtimes.measure import BATCH_SIZES, EDGE_CASES, FIGURES, read_outputs
from leyden.stages.export.agreement import Comparison, Tolerance, Tolerances, largest_diff, nan_to_inf, relative_diff
from leyden.stages.export.export_request import ExportRequest, Step
from leyden.stages.export.input_spec import to_tensors
from leyden.statistics.bootstrap import Estimate, bootstrap_intervals
from leyden.statistics.measures import FRACTION, AnyMeasure, fraction_measure, mean_measure

TIMEOUT_S = 600
CONFIDENCE_LEVEL = 0.95
# By default, glibc returns large blocks to the system at every call and requests them again: eager PyTorch would appear
# to be up to twice as slow as it is.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


@dataclass
class ModelOutputs:
    """What a model file returned.

    Args:
        by_batch_size: Outputs, float32 (N, K) or (N, K, H, W).
        metrics: Labels, task, load time, latencies and memory.
        edge_cases: Outputs for the examples' edge cases (M, K), which have no targets.
    """

    by_batch_size: dict[int, np.ndarray]
    metrics: dict[str, Any]
    edge_cases: np.ndarray = field(default_factory=lambda: np.empty((0, 1), np.float32))


@dataclass
class Reference:
    """The test examples (a file) with their targets, as they are packed, and the checkpoint's outputs for them."""

    examples: Path
    targets: np.ndarray
    tolerances: Tolerances
    expected: ModelOutputs
    reader: OutputReader

    def tolerance(self, precision: str) -> Tolerance:
        return getattr(self.tolerances, precision)


def run_in_subprocess(file: Path, examples: Path) -> ModelOutputs:
    """Run a model file in a new process.

    Raises:
        UserError: if the process fails, or does not end in time.
    """
    results = examples.with_name("results")
    results.mkdir(exist_ok=True)
    command = [sys.executable, "-P", "-m", "leyden.runtimes.measure", str(file), str(examples), str(results)]
    # This copy of the package, even if another is installed; not a stage's folder, whose files are named like packages.
    python_path = filter(None, [str(Path(leyden.__file__).parents[1]), os.environ.get("PYTHONPATH")])
    env = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(python_path)}
    try:
        process = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{file.name}: expected outputs within {TIMEOUT_S} s; its process was still running; nothing is published"
        ) from error
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no message"])[-1][:200]
        raise UserError(
            f"{file.name}: expected it to run in its own runtime; its process ended with {process.returncode} "
            f"({reason}); nothing is published"
        )
    return ModelOutputs(
        {size: read_outputs(results, f"batch_{size}") for size in BATCH_SIZES},
        json.loads((results / FIGURES).read_text(encoding="utf-8")),
        read_outputs(results, EDGE_CASES),
    )


def run_checkpoint(file: Path, examples: Path) -> ModelOutputs:
    """Run the checkpoint that every file is compared with.

    Raises:
        UserError: if the process fails, or an output is NaN or infinite.
    """
    outputs = run_in_subprocess(file, examples)
    if not all(np.isfinite(each).all() for each in (*outputs.by_batch_size.values(), outputs.edge_cases)):
        raise UserError(
            f"expected finite outputs of {file}; got NaN or infinity on test examples; nothing is published; "
            "train the model again"
        )
    return outputs


def verify(reference: Reference, request: ExportRequest) -> dict[str, Any]:
    """Compare a file with the checkpoint at several batch sizes.

    Returns:
        Metrics for the report.

    Raises:
        UserError: if the file does not run, or lost its labels or task.
    """
    outputs = run_in_subprocess(request.path, reference.examples)
    for key in ("labels", "task"):
        if (got := outputs.metrics[key]) != (expected := reference.expected.metrics[key]):
            raise UserError(
                f"{request.path.name}: expected the {key} {expected}; the file has {got}; nothing is published"
            )
    return compare_outputs(outputs, reference.expected, reference.targets, reference.reader)


def compare_outputs(
    outputs: ModelOutputs, expected: ModelOutputs, targets: np.ndarray, reader: OutputReader
) -> dict[str, Any]:
    """Return the worst of all batch sizes.

    Differences are of all outputs, edge cases included; the score is of the batch sizes that all examples were run at.
    An example agrees as much as it does at the batch size where it agrees least.
    """
    comparison = Comparison(reader, expected.by_batch_size[BATCH_SIZES[0]])
    pairs = [(each, comparison.expected[: len(each)]) for each in outputs.by_batch_size.values()]
    all_pairs = [*pairs, *([(outputs.edge_cases, expected.edge_cases)] if len(expected.edge_cases) else [])]
    agreement = np.ones(len(targets))
    for each, _ in pairs:
        agreement[: len(each)] = np.minimum(agreement[: len(each)], comparison.agreement(each))
    first, *others = [each for each, _ in pairs if len(each) == len(targets)]
    decisions = reader.decide(first)  # the same ones need no second score, which takes seconds for masks
    distinct = [first, *(each for each in others if not np.array_equal(reader.decide(each), decisions))]
    measures = [headline(reader, each, targets) for each in distinct]
    estimates = [estimate(measure) for measure in measures]
    worst = (min if measures[0].higher_is_better else max)(estimates)
    return {
        "max_abs_diff": max(largest_diff(*pair) for pair in all_pairs),
        "max_relative_diff": max(relative_diff(*pair, comparison.spread) for pair in all_pairs),
        "mean_abs_diff": max(nan_to_inf(np.abs(each - other).mean()) for each, other in pairs),
        **with_interval("agreement", estimate(agreement_measure(agreement))),
        "score_name": reader.headline,
        **with_interval("score", worst),
        "examples": len(targets),
    } | {key: value for key, value in outputs.metrics.items() if key not in ("labels", "task")}


def headline(reader: OutputReader, outputs: np.ndarray, targets: np.ndarray) -> AnyMeasure:
    return next(measure for measure in reader.measures(outputs, targets) if measure.name == reader.headline)


def agreement_measure(agreement: np.ndarray) -> AnyMeasure:
    """Return the mean of the examples' agreement (N,) as a measure, that of a proportion if it is 0 or 1 for each."""
    if np.isin(agreement, (0, 1)).all():
        return fraction_measure("agreement", agreement == 1)
    return mean_measure("agreement", agreement, higher_is_better=True, bounds=FRACTION)


def estimate(measure: AnyMeasure) -> Estimate:
    """Return a measure's value with its interval; NaN where it is undefined on these examples."""
    found = bootstrap_intervals([measure], CONFIDENCE_LEVEL)
    return found.get(measure.name, Estimate(math.nan, math.nan, math.nan))


def with_interval(name: str, estimate: Estimate) -> dict[str, float | None]:
    """Return a value and the ends of its interval under three names; None where it is undefined."""
    ends = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
    return {f"{name}{end}": value if math.isfinite(value) else None for end, value in ends.items()}


def describe_failure(reference: Reference, request: ExportRequest, metrics: dict[str, Any]) -> str:
    """Describe by how much a file misses its tolerance, how certain that is, and the step at fault."""
    tolerance = reference.tolerance(request.precision)
    agreement, low, high = (metrics[f"agreement{end}"] for end in ("", "_low", "_high"))
    too_few = "; too few examples to tell" if agreement < tolerance.agreement <= high else ""
    return (
        f"expected the checkpoint's outputs ({reference.reader.output_name} within {tolerance.max_relative_diff:g} of "
        f"their standard deviation, agreement of at least {tolerance.agreement}); got a difference of "
        f"{metrics['max_relative_diff']:.4g} and an agreement of {agreement:.4f} ({low:.4f} to {high:.4f}{too_few}); "
        f"{locate_step(reference, request, tolerance, metrics)}"
    )


def locate_step(reference: Reference, request: ExportRequest, tolerance: Tolerance, metrics: dict[str, Any]) -> str:
    """Report the difference from the checkpoint after each step, and which step first exceeded the tolerance."""
    comparison = Comparison(reference.reader, reference.expected.by_batch_size[BATCH_SIZES[0]])
    examples = load_examples(reference.examples)
    deviations: dict[str, tuple[float, float]] = {}
    for name, step in {"eager": request.module, **request.steps}.items():
        outputs = run_step(step, examples)
        deviations[name] = comparison.relative_diff(outputs), float(comparison.agreement(outputs).mean())
    deviations[request.last_step] = metrics["max_relative_diff"], metrics["agreement"]
    first = next(name for name, deviation in deviations.items() if not tolerance.allows(*deviation))
    listed = ", ".join(f"{name} {difference:.2g}" for name, (difference, _) in deviations.items())
    return f"the step at fault is '{first}' ({listed})"


def run_step(step: Step, examples: Examples) -> np.ndarray:
    """Run a model in this process: its outputs, float32 (N, K) or (N, K, H, W)."""
    with torch.no_grad():
        return torch.cat([step(*to_tensors(batch)) for batch in batches(examples, BATCH_SIZES[0])]).float().numpy()
