"""Resamples are draws with replacement; the tests of pairs are exact."""

import pytest
import torch

from leyden.statistics.bootstrap import WEIGHTS_PER_CHUNK, percentile_interval, resample_sums


def test_sums_are_those_of_examples_drawn_with_replacement():
    columns = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    sums = resample_sums(torch.cat([torch.ones(50, 1), columns], 1), 4000, seed=1)
    assert (sums[:, 0] == 50).all()
    assert torch.allclose(sums[:, 1:].mean(0), columns.sum(0), atol=0.5)
    assert torch.allclose(sums[:, 1:].var(0), 50 * columns.var(0, correction=0), rtol=0.1)


def test_draws_do_not_depend_on_what_is_summed():
    columns = torch.rand(30, 4)
    assert torch.allclose(resample_sums(columns, 20, 3)[:, :2], resample_sums(columns[:, :2], 20, 3))
    assert not torch.allclose(resample_sums(columns, 20, 3), resample_sums(columns, 20, 4))


def test_draws_come_in_chunks_that_fit(monkeypatch):
    columns = torch.rand(64, 2)
    whole = resample_sums(columns, 10, 0)
    monkeypatch.setattr("leyden.statistics.bootstrap.WEIGHTS_PER_CHUNK", 200)
    assert WEIGHTS_PER_CHUNK > 640 and torch.allclose(resample_sums(columns, 10, 0), whole)


def test_percentiles_leave_out_what_has_no_value():
    assert percentile_interval(torch.tensor([*range(101), torch.nan]), 0.9) == pytest.approx((5, 95))
