"""Run an exported file on real test examples, in its own runtime and a process of its own, against the checkpoint that it came from."""

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
from leyden.stages.export.inputs import tensors
from leyden.stages.export.request import Request, Step
from leyden.statistics.wilson import wilson_interval

SECONDS = 600  # after which a file is taken to hang
# glibc gives large blocks back at every call and asks for them anew: eager PyTorch would look up to twice as slow as it is.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


@dataclass(frozen=True)
class Tolerance:
    """How far an exported file may be from its checkpoint.

    Args:
        max_abs_diff: Largest absolute difference of any logit.
        top1_agreement: Least share of examples with the same first label, in [0, 1].
    """

    max_abs_diff: float = 1e-3
    top1_agreement: float = 0.999


@dataclass(frozen=True)
class Tolerances:
    """One for each precision."""

    fp32: Tolerance = Tolerance()
    fp16: Tolerance = Tolerance(0.05, 0.995)
    bf16: Tolerance = Tolerance(0.5, 0.98)
    int8: Tolerance = Tolerance(2.0, 0.98)
    int8_dynamic: Tolerance = Tolerance(1.0, 0.98)


@dataclass
class Answers:
    """What a model file said.

    Args:
        logits: float32 (N, K) by batch size.
        figures: Labels, load time, latencies and memory.
        edges: Logits of further batches (M, K), which no label belongs to.
    """

    logits: dict[int, np.ndarray]
    figures: dict[str, Any]
    edges: np.ndarray = field(default_factory=lambda: np.empty((0, 1), np.float32))


@dataclass
class Reference:
    """The test examples (a file) with their labels (N,), and the checkpoint's own answers on them."""

    examples: Path
    labels: np.ndarray
    tolerances: Tolerances
    expected: Answers

    def tolerance(self, precision: str) -> Tolerance:
        return getattr(self.tolerances, precision)


def run_in_subprocess(file: Path, examples: Path) -> Answers:
    """Run a model file in a fresh process.

    Raises:
        UserError: if the process fails.
    """
    answers = examples.with_name("answers.npz")
    command = [sys.executable, "-P", "-m", "leyden.runtimes.measure", str(file), str(examples), str(answers)]
    # The code beside this one, also where another copy is installed; in no stage's folder, which are named like packages.
    source = str(Path(leyden.__file__).parents[1])
    env = (
        os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))}
    )
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{file.name}: expected answers within {SECONDS} s; its process still ran; nothing is published"
        ) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]
        raise UserError(
            f"{file.name}: expected it to run in its own runtime; the process ended with {done.returncode} ({reason}); nothing is published"
        )
    with np.load(answers) as found:
        logits = {size: found[f"logits_{size}"] for size in BATCH_SIZES}
        return Answers(logits, json.loads(str(found["figures"])), found["edge_cases"])


def ask_checkpoint(file: Path, examples: Path) -> Answers:
    """Run the checkpoint that every file is compared with.

    Raises:
        UserError: if the process fails, or a logit is NaN or infinite.
    """
    answers = run_in_subprocess(file, examples)
    if not all(np.isfinite(logits).all() for logits in (*answers.logits.values(), answers.edges)):
        raise UserError(
            f"expected finite logits of {file}; got NaN or infinity on test examples; nothing is published; train it again"
        )
    return answers


def verify(proof: Reference, request: Request) -> dict[str, Any]:
    """Compare a file with the checkpoint at several batch sizes.

    Returns:
        Figures for the report.

    Raises:
        UserError: if the file differs by more than the tolerance, or lost its labels.
    """
    answers, name, labels = (
        run_in_subprocess(request.path, proof.examples),
        request.path.name,
        proof.expected.figures["labels"],
    )
    if answers.figures["labels"] != labels:
        raise UserError(
            f"{name}: expected the labels {labels}; the file carries {answers.figures['labels']}; nothing is published"
        )
    figures = compare(answers, proof.expected, proof.labels)
    tolerance = proof.tolerance(request.precision)
    if not is_within(tolerance, figures["max_abs_diff"], figures["top1_agreement"]):
        raise UserError(
            f"{name}: expected the checkpoint's answers (logits within {tolerance.max_abs_diff}, top-1 agreement of at least "
            f"{tolerance.top1_agreement}); got a difference of {figures['max_abs_diff']:.4g} and {figures['top1_agreement']:.4f}; "
            f"{locate(proof, request, figures)}; nothing is published; mend the format's writer, or loosen `tolerance` in configs/export.yaml"
        )
    return figures


def is_within(tolerance: Tolerance, difference: float, agreement: float) -> bool:
    return (
        difference <= tolerance.max_abs_diff and agreement >= tolerance.top1_agreement
    )  # false for what is not a number


def compare(answers: Answers, expected: Answers, labels: np.ndarray) -> dict[str, Any]:
    """Give the worst of all batch sizes: differences on all that was run, agreement on all examples, accuracy on the whole set."""
    reference = expected.logits[BATCH_SIZES[0]]
    pairs = [(logits, reference[: len(logits)]) for logits in answers.logits.values()]
    right = min(
        int((logits.argmax(1) == labels).sum()) for logits in answers.logits.values() if len(logits) == len(labels)
    )
    low, high = wilson_interval(right, len(labels), 0.95)
    return {
        "max_abs_diff": max(
            finite(np.abs(logits - other).max(initial=0)) for logits, other in [*pairs, (answers.edges, expected.edges)]
        ),
        "mean_abs_diff": max(finite(np.abs(logits - other).mean()) for logits, other in pairs),
        "top1_agreement": min(float((logits.argmax(1) == other.argmax(1)).mean()) for logits, other in pairs),
        "accuracy": right / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "examples": len(labels),
    } | {key: value for key, value in answers.figures.items() if key != "labels"}


def finite(difference: float) -> float:
    """Give a difference, infinity for what is not a number, since NaN compares with nothing."""
    return float(difference) if math.isfinite(difference) else math.inf


def locate(proof: Reference, request: Request, figures: dict[str, Any]) -> str:
    """Tell how far the model was from the checkpoint after each step to the file, and which step was the first to go beyond the tolerance."""
    tolerance, found = proof.tolerance(request.precision), {}
    reference = torch.from_numpy(proof.expected.logits[BATCH_SIZES[0]])
    examples = load_examples(proof.examples)
    steps: dict[str, Step] = {"eager": request.module, **request.steps}
    for name, step in steps.items():
        with torch.no_grad():
            logits = torch.cat([step(*tensors(batch)) for batch in batches(examples, BATCH_SIZES[0])])
        agreement = float((logits.argmax(1) == reference.argmax(1)).float().mean())
        found[name] = finite(float((logits - reference).abs().max())), agreement
    found[request.last_step] = figures["max_abs_diff"], figures["top1_agreement"]
    guilty = next(name for name, values in found.items() if not is_within(tolerance, *values))
    return f"the step at fault is '{guilty}' ({', '.join(f'{name} {values[0]:.2g}' for name, values in found.items())})"
