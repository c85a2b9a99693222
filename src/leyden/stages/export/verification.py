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
from leyden.runtimes.examples import batches, load_examples
from leyden.runtimes.measure import BATCH_SIZES
from leyden.stages.export.export_request import ExportRequest
from leyden.stages.export.input_spec import to_tensors
from leyden.statistics.wilson import wilson_interval

TIMEOUT_S = 600
# By default, glibc returns large blocks to the system at every call and requests them again: eager PyTorch would appear
# to be up to twice as slow as it is.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


@dataclass(frozen=True)
class Tolerance:
    """How far an exported file may differ from its checkpoint.

    Args:
        max_abs_diff: Largest absolute difference of any logit.
        top1_agreement: Smallest fraction of examples with the same predicted label, in [0, 1].
    """

    max_abs_diff: float = 1e-3
    top1_agreement: float = 0.999

    def allows(self, difference: float, agreement: float) -> bool:
        """Return whether a file may differ this much; never if a value is NaN."""
        return difference <= self.max_abs_diff and agreement >= self.top1_agreement


@dataclass(frozen=True)
class Tolerances:
    """The tolerance for each precision."""

    fp32: Tolerance = Tolerance()
    fp16: Tolerance = Tolerance(0.05, 0.995)
    bf16: Tolerance = Tolerance(0.5, 0.98)
    int8: Tolerance = Tolerance(2.0, 0.98)
    int8_dynamic: Tolerance = Tolerance(1.0, 0.98)


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
        UserError: if the file differs by more than the tolerance, or lost its labels.
    """
    outputs = run_in_subprocess(request.path, reference.examples)
    name, labels = request.path.name, outputs.metrics["labels"]
    if labels != (expected_labels := reference.expected.metrics["labels"]):
        raise UserError(f"{name}: expected the labels {expected_labels}; the file has {labels}; nothing is published")
    metrics = compare_outputs(outputs, reference.expected, reference.labels)
    tolerance: Tolerance = getattr(reference.tolerances, request.precision)
    if not tolerance.allows(metrics["max_abs_diff"], metrics["top1_agreement"]):
        raise UserError(
            f"{name}: expected the checkpoint's outputs (logits within {tolerance.max_abs_diff}, top-1 agreement of at "
            f"least {tolerance.top1_agreement}); got a difference of {metrics['max_abs_diff']:.4g} and an agreement of "
            f"{metrics['top1_agreement']:.4f}; {locate_step(reference, request, tolerance, metrics)}; "
            "nothing is published; fix the format's writer, or increase `tolerance` in configs/export.yaml"
        )
    return metrics


def compare_outputs(outputs: ModelOutputs, expected: ModelOutputs, labels: np.ndarray) -> dict[str, Any]:
    """Return the worst of all batch sizes.

    Differences are of all logits, edge cases included; accuracy is of the batch sizes that all examples were run at.
    """
    expected_logits = expected.logits[BATCH_SIZES[0]]
    pairs = [(logits, expected_logits[: len(logits)]) for logits in outputs.logits.values()]
    differences = [np.abs(logits - other) for logits, other in pairs]
    edge_differences = np.abs(outputs.edge_logits - expected.edge_logits)
    num_correct = min(
        int((logits.argmax(1) == labels).sum()) for logits in outputs.logits.values() if len(logits) == len(labels)
    )
    low, high = wilson_interval(num_correct, len(labels), 0.95)
    return {
        "max_abs_diff": max(nan_to_inf(values.max(initial=0)) for values in (*differences, edge_differences)),
        "mean_abs_diff": max(nan_to_inf(values.mean()) for values in differences),
        "top1_agreement": min(float((logits.argmax(1) == other.argmax(1)).mean()) for logits, other in pairs),
        "accuracy": num_correct / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "examples": len(labels),
    } | {key: value for key, value in outputs.metrics.items() if key != "labels"}


def nan_to_inf(difference: float) -> float:
    """Return infinity instead of NaN, which no comparison would detect."""
    return float(difference) if math.isfinite(difference) else math.inf


def locate_step(reference: Reference, request: ExportRequest, tolerance: Tolerance, metrics: dict[str, Any]) -> str:
    """Report the difference from the checkpoint after each step, and which step first exceeded the tolerance."""
    expected = torch.from_numpy(reference.expected.logits[BATCH_SIZES[0]])
    examples = load_examples(reference.examples)
    deviations: dict[str, tuple[float, float]] = {}
    for name, step in {"eager": request.module, **request.steps}.items():
        with torch.no_grad():
            logits = torch.cat([step(*to_tensors(batch)) for batch in batches(examples, BATCH_SIZES[0])])
        agreement = float((logits.argmax(1) == expected.argmax(1)).float().mean())
        deviations[name] = nan_to_inf(float((logits - expected).abs().max())), agreement
    deviations[request.last_step] = metrics["max_abs_diff"], metrics["top1_agreement"]
    first = next(name for name, deviation in deviations.items() if not tolerance.allows(*deviation))
    listed = ", ".join(f"{name} {difference:.2g}" for name, (difference, _) in deviations.items())
    return f"the step at fault is '{first}' ({listed})"
