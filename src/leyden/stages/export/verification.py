"""Compare an exported file with its checkpoint on real test examples, in its own runtime and a separate process."""

import json
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
from leyden.runtimes.examples import Examples, batches, load_examples
from leyden.runtimes.measure import BATCH_SIZES
from leyden.stages.export.agreement import (
    Tolerance,
    Tolerances,
    divide_by_spread,
    find_agreeing,
    largest_diff,
    logit_spread,
    nan_to_inf,
)
from leyden.stages.export.export_request import ExportRequest, Step
from leyden.stages.export.input_spec import to_tensors
from leyden.statistics.wilson import wilson_interval

TIMEOUT_S = 600
CONFIDENCE_LEVEL = 0.95
# By default, glibc returns large blocks to the system at every call and requests them again: eager PyTorch would appear
# to be up to twice as slow as it is.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


@dataclass
class ModelOutputs:
    """What a model file returned.

    Args:
        logits: float32 (N, K) by batch size.
        metrics: Labels, load time, latencies and memory.
        edge_logits: Logits of the examples' edge cases (M, K), which have no labels.
    """

    logits: dict[int, np.ndarray]
    metrics: dict[str, Any]
    edge_logits: np.ndarray = field(default_factory=lambda: np.empty((0, 1), np.float32))


@dataclass
class Reference:
    """The test examples (a file) with their labels (N,), and the checkpoint's outputs for them."""

    examples: Path
    labels: np.ndarray
    tolerances: Tolerances
    expected: ModelOutputs

    def tolerance(self, precision: str) -> Tolerance:
        return getattr(self.tolerances, precision)


def run_in_subprocess(file: Path, examples: Path) -> ModelOutputs:
    """Run a model file in a new process.

    Raises:
        UserError: if the process fails, or does not end in time.
    """
    outputs = examples.with_name("outputs.npz")
    command = [sys.executable, "-P", "-m", "leyden.runtimes.measure", str(file), str(examples), str(outputs)]
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
    with np.load(outputs) as arrays:
        logits = {size: arrays[f"logits_{size}"] for size in BATCH_SIZES}
        return ModelOutputs(logits, json.loads(str(arrays["figures"])), arrays["edge_cases"])


def run_checkpoint(file: Path, examples: Path) -> ModelOutputs:
    """Run the checkpoint that every file is compared with.

    Raises:
        UserError: if the process fails, or a logit is NaN or infinite.
    """
    outputs = run_in_subprocess(file, examples)
    if not all(np.isfinite(logits).all() for logits in (*outputs.logits.values(), outputs.edge_logits)):
        raise UserError(
            f"expected finite logits of {file}; got NaN or infinity on test examples; nothing is published; "
            "train the model again"
        )
    return outputs


def verify(reference: Reference, request: ExportRequest) -> dict[str, Any]:
    """Compare a file with the checkpoint at several batch sizes.

    Returns:
        Metrics for the report.

    Raises:
        UserError: if the file does not run, or lost its labels.
    """
    outputs = run_in_subprocess(request.path, reference.examples)
    name, labels = request.path.name, outputs.metrics["labels"]
    if labels != (expected_labels := reference.expected.metrics["labels"]):
        raise UserError(f"{name}: expected the labels {expected_labels}; the file has {labels}; nothing is published")
    return compare_outputs(outputs, reference.expected, reference.labels)


def compare_outputs(outputs: ModelOutputs, expected: ModelOutputs, labels: np.ndarray) -> dict[str, Any]:
    """Return the worst of all batch sizes.

    Differences are of all logits, edge cases included; accuracy is of the batch sizes that all examples were run at. An
    example agrees if it does at each batch size that it was run at.
    """
    expected_logits = expected.logits[BATCH_SIZES[0]]
    spread = logit_spread(expected_logits)
    pairs = [(logits, expected_logits[: len(logits)]) for logits in outputs.logits.values()]
    max_diff = max(largest_diff(*pair) for pair in (*pairs, (outputs.edge_logits, expected.edge_logits)))
    agrees = np.ones(len(labels), bool)
    for logits, other in pairs:
        agrees[: len(logits)] &= find_agreeing(logits, other, spread)
    num_correct = min(
        int((logits.argmax(1) == labels).sum()) for logits in outputs.logits.values() if len(logits) == len(labels)
    )
    return {
        "max_abs_diff": max_diff,
        "max_relative_diff": divide_by_spread(max_diff, spread),
        "mean_abs_diff": max(nan_to_inf(np.abs(logits - other).mean()) for logits, other in pairs),
        **proportion("top1_agreement", int(agrees.sum()), len(labels)),
        **proportion("accuracy", num_correct, len(labels)),
        "examples": len(labels),
    } | {key: value for key, value in outputs.metrics.items() if key != "labels"}


def proportion(name: str, count: int, total: int) -> dict[str, float]:
    """Return a proportion and the ends of its interval under three names."""
    low, high = wilson_interval(count, total, CONFIDENCE_LEVEL)
    return {name: count / total, f"{name}_low": low, f"{name}_high": high}


def describe_failure(reference: Reference, request: ExportRequest, metrics: dict[str, Any]) -> str:
    """Describe by how much a file misses its tolerance, how certain that is, and the step at fault."""
    tolerance = reference.tolerance(request.precision)
    agreement, low, high = (metrics[f"top1_agreement{end}"] for end in ("", "_low", "_high"))
    too_few = "; too few examples to tell" if agreement < tolerance.top1_agreement <= high else ""
    return (
        f"expected the checkpoint's outputs (logits within {tolerance.max_relative_diff:g} of their standard "
        f"deviation, top-1 agreement of at least {tolerance.top1_agreement}); got a difference of "
        f"{metrics['max_relative_diff']:.4g} and an agreement of {agreement:.4f} ({low:.4f} to {high:.4f}{too_few}); "
        f"{locate_step(reference, request, tolerance, metrics)}"
    )


def locate_step(reference: Reference, request: ExportRequest, tolerance: Tolerance, metrics: dict[str, Any]) -> str:
    """Report the difference from the checkpoint after each step, and which step first exceeded the tolerance."""
    expected = reference.expected.logits[BATCH_SIZES[0]]
    spread = logit_spread(expected)
    examples = load_examples(reference.examples)
    deviations: dict[str, tuple[float, float]] = {}
    for name, step in {"eager": request.module, **request.steps}.items():
        logits = run_step(step, examples)
        difference = divide_by_spread(largest_diff(logits, expected), spread)
        deviations[name] = difference, float(find_agreeing(logits, expected, spread).mean())
    deviations[request.last_step] = metrics["max_relative_diff"], metrics["top1_agreement"]
    first = next(name for name, deviation in deviations.items() if not tolerance.allows(*deviation))
    listed = ", ".join(f"{name} {difference:.2g}" for name, (difference, _) in deviations.items())
    return f"the step at fault is '{first}' ({listed})"


def run_step(step: Step, examples: Examples) -> np.ndarray:
    """Run a model in this process: float32 logits (N, K)."""
    with torch.no_grad():
        return torch.cat([step(*to_tensors(batch)) for batch in batches(examples, BATCH_SIZES[0])]).float().numpy()
