"""Split-conformal radii: known ranks, and the coverage that they promise."""

import numpy as np
import pytest

from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.conformal import conformal_radius, coverage_measure
from leyden.statistics.wilson import wilson_interval


@pytest.mark.parametrize(
    ("count", "coverage", "rank"), [(9, 0.9, 9), (19, 0.9, 18), (20, 0.9, 19), (99, 0.95, 95), (99, 0.55, 55)]
)
def test_radius_is_the_residual_of_the_finite_sample_rank(count, coverage, rank):
    residuals = np.random.default_rng(0).permutation(np.arange(1, count + 1)) * np.where(np.arange(count) % 2, 1, -1)
    assert conformal_radius(residuals, coverage) == rank


@pytest.mark.parametrize(("count", "coverage"), [(0, 0.5), (8, 0.9), (18, 0.95)])
def test_no_radius_of_too_few_residuals(count, coverage):
    assert conformal_radius(np.ones(count), coverage) is None


@pytest.mark.parametrize("count", [9, 40, 133])
def test_radius_covers_as_often_as_promised(count):
    residuals = np.random.default_rng(0).standard_t(3, size=(3000, count + 1))
    covered = [abs(row[-1]) <= (conformal_radius(row[:-1], 0.9) or 0) for row in residuals]
    assert np.mean(covered) == pytest.approx(np.ceil((count + 1) * 0.9) / (count + 1), abs=0.015)


def test_measured_coverage_has_wilsons_interval():
    estimate = bootstrap_intervals([coverage_measure("coverage", [-3, 1, 2, 4], 2.0)], 0.95)["coverage"]
    assert estimate == pytest.approx((0.5, *wilson_interval(2, 4, 0.95)))
