"""Run an exported file on real test images against the checkpoint that it came from."""

import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leyden.errors import UserError
from leyden.models.image_model import ImageModel
from leyden.models.load import Predictor, load, predict_logits

BATCH_SIZES = (64, 7, 1)  # 64 is more than the example of any export, 7 is odd
WARM_UP, REPEATS = 3, 20


@dataclass
class Tolerance:
    """How far an exported file may be from its checkpoint.

    Args:
        max_abs_diff: Largest absolute difference of any logit.
        top1_agreement: Least share of images with the same first label, in [0, 1].
    """

    max_abs_diff: float = 1e-3
    top1_agreement: float = 0.999


@dataclass
class Check:
    """The checkpoint's model, and test images uint8 (N, H, W, C) with labels (N,) to compare on."""

    module: ImageModel
    images: np.ndarray
    labels: np.ndarray
    tolerance: Tolerance


def check_file(check: Check, path: Path) -> dict[str, Any]:
    """Load a file in its own runtime and compare it with the checkpoint at several batch sizes.

    Returns:
        A row of the report.

    Raises:
        UserError: if the file differs by more than the tolerance, or lost its labels.
    """
    expected = predict_logits(check.module, check.images, BATCH_SIZES[0])
    predictor = load(path)
    if predictor.labels != check.module.labels:
        raise UserError(f"{path.name}: expected the labels {check.module.labels}; the file carries {predictor.labels}; nothing is published")
    difference, agreement, accuracy = 0.0, 1.0, 1.0
    for batch_size in BATCH_SIZES:
        count = len(check.images) if batch_size > 1 else min(64, len(check.images))
        logits = predict_logits(predictor, check.images[:count], batch_size)
        difference = max(difference, largest_difference(logits, expected[:count]))
        agreement = min(agreement, float((logits.argmax(1) == expected[:count].argmax(1)).float().mean()))
        if batch_size > 1:
            accuracy = min(accuracy, float((logits.argmax(1).numpy() == check.labels).mean()))
    if not (difference <= check.tolerance.max_abs_diff and agreement >= check.tolerance.top1_agreement):
        raise UserError(
            f"{path.name}: expected the checkpoint's answers (logits within {check.tolerance.max_abs_diff}, top-1 agreement of at least "
            f"{check.tolerance.top1_agreement}); got a difference of {difference:.4g} and {agreement:.4f}; nothing is published; "
            "mend the format's writer, or loosen the tolerance in configs/export.yaml"
        )
    figures = {"max_abs_diff": difference, "top1_agreement": agreement, "accuracy": accuracy, "examples": len(check.images)}
    return row_of(path.suffix[1:], path.name, path.stat().st_size) | figures | latencies(predictor, check.images)


def time_eager(check: Check) -> dict[str, Any]:
    """Give the checkpoint's own row, to compare speeds with."""
    logits = predict_logits(check.module, check.images, BATCH_SIZES[0])
    accuracy = float((logits.argmax(1).numpy() == check.labels).mean())
    figures = {"max_abs_diff": 0.0, "top1_agreement": 1.0, "accuracy": accuracy, "examples": len(check.images)}
    return row_of("eager", "", sum(p.nbytes for p in check.module.parameters())) | figures | latencies(check.module, check.images)


def row_of(kind: str, file: str, size: int) -> dict[str, Any]:
    return {"format": kind, "precision": "fp32", "file": file, "bytes": size, "status": "checked", "reason": ""}


def largest_difference(logits: Tensor, expected: Tensor) -> float:
    """Give the largest absolute difference; infinity where either is not a number, since NaN compares with nothing."""
    difference = float((logits - expected).abs().max())
    return difference if math.isfinite(difference) else math.inf


def latencies(predictor: Predictor, images: np.ndarray) -> dict[str, float]:
    """Measure milliseconds per call at batch 1 and 64: median and 95th percentile."""
    found = {}
    for batch_size in (1, 64):
        batch = torch.from_numpy(np.resize(images, (batch_size, *images.shape[1:]))).permute(0, 3, 1, 2)
        times = []
        with torch.inference_mode():
            for _ in range(WARM_UP + REPEATS):
                started = time.perf_counter()
                predictor(batch)
                times.append((time.perf_counter() - started) * 1000)
        times = sorted(times[WARM_UP:])
        found[f"latency_ms_b{batch_size}_p50"] = statistics.median(times)
        found[f"latency_ms_b{batch_size}_p95"] = times[math.ceil(0.95 * len(times)) - 1]
    return found
