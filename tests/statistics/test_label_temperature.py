"""The temperature of one label's logits."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from leyden.statistics.label_temperature import label_temperature


@pytest.mark.parametrize("factor", [0.2, 1, 6])
def test_temperature_undoes_a_factor_of_calibrated_logits(factor):
    generator = np.random.default_rng(0)
    logits = generator.normal(-1, 2, size=50_000)
    targets = generator.random(50_000) < 1 / (1 + np.exp(-logits))
    assert label_temperature(factor * logits, targets) == pytest.approx(factor, rel=0.03)


def test_temperature_minimises_the_cross_entropy_of_smoothed_targets():
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(size=40), generator.random(40) < 0.3
    soft = np.where(targets, 41 / 42, 1 / 42)
    best = minimize_scalar(
        lambda x: np.sum(np.logaddexp(0, logits / 2**x) - soft * logits / 2**x), bounds=(-4, 4), method="bounded"
    )
    assert label_temperature(logits, targets) == pytest.approx(2**best.x, rel=0.01)


def test_temperature_without_errors_is_not_the_smallest():
    logits = np.linspace(-3, 3, 40)
    assert 1 / 16 < label_temperature(logits, logits > 0) < 1


def test_temperature_of_logits_that_are_wrong_is_the_largest():
    logits = np.linspace(-3, 3, 40)
    assert label_temperature(logits, logits < 0) == pytest.approx(16)


@pytest.mark.parametrize("logits", [[], [0.0, 0.0]])
def test_no_temperature_is_better_than_another(logits):
    assert label_temperature(logits, [True] * len(logits)) == 1
