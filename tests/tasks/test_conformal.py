"""Intervals by split conformal prediction."""

import numpy as np
import pytest
import torch

from leyden.tasks.conformal import ConformalRadius


def radius(outputs: torch.Tensor, targets: torch.Tensor, *, coverage: float = 0.9, parts: int = 1) -> torch.Tensor:
    metric = ConformalRadius(coverage)
    for batch in zip(outputs.chunk(parts), targets.chunk(parts), strict=True):
        metric.update(*batch)
    return metric.compute()


@pytest.mark.parametrize("parts", [1, 4])
def test_the_radius_is_a_quantile_of_the_absolute_residuals(parts):
    """Of 19 residuals 1 to 19 it is number ceil(20 * 0.9) = 18, for each target on its own."""
    residuals = torch.tensor(np.random.default_rng(0).permutation(19) + 1.0)[:, None] * torch.tensor([1.0, -2.0])
    targets = torch.arange(38.0).view(19, 2)
    assert radius(targets + residuals, targets, parts=parts).tolist() == [18.0, 36.0]


def test_with_too_few_examples_it_is_infinite():
    assert radius(torch.ones(8, 1), torch.zeros(8, 1)).item() == torch.inf
    assert radius(torch.ones(9, 1), torch.zeros(9, 1)).item() == 1.0


def test_intervals_contain_the_given_fraction_of_new_examples():
    """On average over 2,000 draws of 29 examples; one draw's coverage varies."""
    residuals = torch.randn(30, 2000, generator=torch.Generator().manual_seed(0))
    radii = radius(residuals[:29], torch.zeros(29, 2000), coverage=0.8)
    assert (residuals[29].abs() <= radii).float().mean() == pytest.approx(0.8, abs=0.03)
