"""Resamples are drawn with replacement, and depend on the seed alone."""

import numpy as np
import pytest

from leyden.statistics.bootstrap import WEIGHTS_PER_CHUNK, percentile_interval, resample_sums


def random_columns(count: int, num_columns: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, num_columns))


def test_sums_have_the_moments_of_draws_with_replacement():
    columns = np.random.default_rng(0).standard_normal((50, 3))
    sums = resample_sums(np.concatenate([np.ones((50, 1)), columns], axis=1), 4000, seed=1)
    assert (sums[:, 0] == 50).all()
    assert np.allclose(sums[:, 1:].mean(axis=0), columns.sum(axis=0), atol=0.5)
    assert np.allclose(sums[:, 1:].var(axis=0), 50 * columns.var(axis=0), rtol=0.1)


def test_sums_are_those_of_the_drawn_rows():
    columns = random_columns(20, 2)
    rows = np.random.default_rng(7).integers(20, size=(5, 20))
    assert np.allclose(resample_sums(columns, 5, seed=7), columns[rows].sum(axis=1))


def test_draws_do_not_depend_on_the_columns():
    columns = random_columns(30, 4)
    assert np.allclose(resample_sums(columns, 20, 3)[:, :2], resample_sums(columns[:, :2], 20, 3))
    assert not np.allclose(resample_sums(columns, 20, 3), resample_sums(columns, 20, 4))


def test_sums_do_not_depend_on_the_chunk_size(monkeypatch):
    columns = random_columns(64, 2)
    whole = resample_sums(columns, 10, 0)
    assert WEIGHTS_PER_CHUNK > 640
    monkeypatch.setattr("leyden.statistics.bootstrap.WEIGHTS_PER_CHUNK", 200)
    assert np.allclose(resample_sums(columns, 10, 0), whole)


def test_percentiles_ignore_nan():
    assert percentile_interval(np.array([*range(101), np.nan]), 0.9) == pytest.approx((5, 95))
