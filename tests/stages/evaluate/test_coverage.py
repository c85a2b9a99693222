"""How often the intervals contain the value that a very large test split has: 95% is wanted, and 90% demanded.

Logits are normal noise, and larger for the label; half of the confusions are with the next class, and classes differ in
difficulty. `python -m tests.stages.evaluate.test_coverage` prints the whole table.
"""

import itertools
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leyden.stages.evaluate.calibration import calibration_interval, sum_bins
from leyden.stages.evaluate.metrics import metrics_with_intervals
from leyden.stages.evaluate.predictions import Predictions

LEVEL = 0.95
TOP_K = 3
NUM_LARGE = 100_000
SKILLS = {10: {"weak": 1.5, "good": 3.5, "nearly perfect": 8.0}, 250: {"weak": 2.5, "good": 4.4, "nearly perfect": 8.0}}
METRICS = (
    *("accuracy", "balanced_accuracy", "macro_precision", "macro_f1", f"top_{TOP_K}_accuracy"),
    *("auroc", "log_loss", "brier_score", "calibration_error"),
)


def sample(num_classes: int, model: str, count: int, seed: int, is_stratified: bool) -> Predictions:
    generator, skill = torch.Generator().manual_seed(seed), SKILLS[num_classes][model]
    labels = (
        torch.arange(count) % num_classes
        if is_stratified
        else torch.randint(0, num_classes, (count,), generator=generator)
    )
    rows, skills = torch.arange(count), skill * torch.linspace(0.7, 1.3, num_classes)[labels]
    logits = torch.randn(count, num_classes, generator=generator)
    logits[rows, labels] += skills
    logits[rows, (labels + 1) % num_classes] += skills / 2
    names = [str(number) for number in range(num_classes)]
    scores = (skill * logits).log_softmax(dim=1)
    return Predictions([""] * count, names, labels, scores, scores.argmax(dim=1))


@cache
def true_values(num_classes: int, model: str) -> dict[str, float]:
    large = sample(num_classes, model, NUM_LARGE, 10**6, is_stratified=True)
    return metrics_with_intervals(large, TOP_K, 10, LEVEL, 0)


def measure_coverage(
    num_classes: int, per_class: int, model: str, is_stratified: bool, num_samples: int
) -> dict[str, float]:
    """Return for each metric the fraction of samples whose interval contains the true value."""
    truth, hits = true_values(num_classes, model), dict.fromkeys(METRICS, 0)
    for seed in range(num_samples):
        predictions = sample(num_classes, model, num_classes * per_class, seed, is_stratified)
        metrics = metrics_with_intervals(predictions, TOP_K, 300, LEVEL, seed)
        for name in METRICS:
            hits[name] += metrics[f"{name}_low"] <= truth[name] <= metrics[f"{name}_high"]
    return {name: count / num_samples for name, count in hits.items()}


def check_coverage(num_classes: int, per_class: int, model: str, is_stratified: bool, num_samples: int) -> None:
    coverage = measure_coverage(num_classes, per_class, model, is_stratified, num_samples)
    for name, fraction in coverage.items():
        assert fraction >= 0.9 - 2 * np.sqrt(0.9 * 0.1 / num_samples), (name, coverage)


@pytest.mark.parametrize("is_stratified", [True, False])
@pytest.mark.parametrize("model", SKILLS[10])
def test_intervals_hold_with_40_examples(model, is_stratified):
    check_coverage(10, 4, model, is_stratified, 200)


@pytest.mark.parametrize(("model", "is_stratified"), [("weak", False), ("good", True)])
def test_intervals_hold_with_4_examples_of_250_classes(model, is_stratified):
    """Where the bias of the means over classes is large against their standard errors."""
    check_coverage(250, 4, model, is_stratified, 30)


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.02, 0.04])
def test_the_calibration_error_of_gaps_about_as_large_as_their_noise_is_covered(gap):
    """10,000 predictions in 8 bins: the noise of each bin's gap is 0.014."""
    generator = np.random.default_rng(0)
    is_covered = []
    for seed in range(400):
        confidence = generator.uniform(0.1, 0.9, 10_000)
        is_correct = generator.random(10_000) < confidence - gap
        bins = sum_bins(SimpleNamespace(confidence=torch.tensor(confidence), is_correct=torch.tensor(is_correct)))
        low, high = calibration_interval(bins, 10_000, 300, LEVEL, seed)
        is_covered.append(low <= gap <= high)
    assert np.mean(is_covered) > 0.92, np.mean(is_covered)


@pytest.mark.slow
@pytest.mark.parametrize("is_stratified", [True, False])
@pytest.mark.parametrize("model", SKILLS[10])
@pytest.mark.parametrize("per_class", [4, 40])
@pytest.mark.parametrize("num_classes", SKILLS)
def test_intervals_hold(num_classes, per_class, model, is_stratified):
    check_coverage(num_classes, per_class, model, is_stratified, 300 if num_classes * per_class < 10_000 else 60)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("classes x examples", "model", "stratified", *METRICS, sep=" | ")
    for num_classes, per_class, model, is_stratified in itertools.product(SKILLS, (4, 40), SKILLS[10], (True, False)):
        num_samples = {40: 1000, 400: 500, 1000: 200, 10_000: 40}[num_classes * per_class]
        coverage = measure_coverage(num_classes, per_class, model, is_stratified, num_samples)
        cells = (f"{fraction:.3f}" for fraction in coverage.values())
        print(f"{num_classes} x {per_class}", model, is_stratified, *cells, sep=" | ", flush=True)
