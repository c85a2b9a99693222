"""Seconds for the intervals of all headline metrics: 10,000 resamples of 10,000 predictions of 10 classes.

The baseline draws examples and computes the metrics of each draw: measured on 20 resamples, and scaled up to 10,000.
"""

import statistics
import time

import numpy as np
import torch

from leyden.stages.evaluate.metrics import compute_intervals, compute_metrics
from leyden.stages.evaluate.predictions import Predictions
from timing import Row

COUNT, NUM_CLASSES, NUM_RESAMPLES, NUM_SCORED = 10_000, 10, 10_000, 20


def measure() -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, NUM_CLASSES, (COUNT,), generator=generator)
    logits = 3 * torch.nn.functional.one_hot(labels, NUM_CLASSES) + torch.randn(COUNT, NUM_CLASSES, generator=generator)
    found = Predictions([""] * COUNT, [str(number) for number in range(NUM_CLASSES)], labels, logits.log_softmax(dim=1))
    figures = compute_metrics(found, 3)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(5):
        started = time.perf_counter()
        compute_intervals(found, figures, 3, NUM_RESAMPLES, 0.95, seed=0)
        times[0].append(time.perf_counter() - started)
        started = time.perf_counter()
        for rows in np.random.default_rng(0).integers(COUNT, size=(NUM_SCORED, COUNT)):
            compute_metrics(found._replace(labels=labels[rows], log_probabilities=found.log_probabilities[rows]), 3)
        times[1].append((time.perf_counter() - started) * NUM_RESAMPLES / NUM_SCORED)
    seconds, usual = (statistics.median(each) for each in times)
    return [
        Row(
            "bootstrap_seconds",
            round(seconds, 3),
            "s",
            round(usual, 1),
            round(seconds / usual, 5),
            "below 2 s",
            repeats=5,
        )
    ]
