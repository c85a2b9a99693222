"""Sampled batches are complete, reproducible, and the same on any number of processes."""

import numpy as np
import pytest

from leyden.data.sampler import BatchSampler


def batches(epoch: int, seed: int = 0, count: int = 100, **options) -> list:
    sampler = BatchSampler(count, 16, seed, shuffle=True, **options)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_order_is_a_function_of_seed_and_epoch():
    first, again, later, other = batches(3), batches(3), batches(4), batches(3, seed=1)
    assert all(np.array_equal(a.rows, b.rows) and a.seed == b.seed for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].rows, later[0].rows)
    assert not np.array_equal(first[0].rows, other[0].rows)
    assert len({batch.seed for batch in first + later + other}) == 18


def test_training_epoch_repeats_no_example_and_has_only_full_batches():
    rows = np.concatenate([batch.rows for batch in batches(0)])
    assert len(rows) == len(set(rows)) == 96


def test_fewer_examples_than_a_batch_make_one_batch():
    assert [len(batch.rows) for batch in batches(0, count=5)] == [5]


def test_validation_sees_every_example_once_in_order():
    sampler = BatchSampler(37, 16, 0, shuffle=False)
    assert len(sampler) == 3
    assert np.array_equal(np.concatenate([batch.rows for batch in sampler]), np.arange(37))


@pytest.mark.parametrize("epoch", [0, 5])
def test_two_processes_split_the_global_batches_of_one(epoch):
    one = BatchSampler(100, 16, 0, shuffle=True)
    two = [BatchSampler(100, 8, 0, shuffle=True, rank=rank, world_size=2) for rank in range(2)]
    for sampler in (one, *two):
        sampler.set_epoch(epoch)
    for expected, first, second in zip(one, *two, strict=True):
        assert expected.seed == first.seed == second.seed
        assert np.array_equal(expected.rows[0::2], first.rows)
        assert np.array_equal(expected.rows[1::2], second.rows)


def test_an_odd_test_set_is_split_without_padding():
    parts = [
        np.concatenate([batch.rows for batch in BatchSampler(37, 4, 0, False, rank=rank, world_size=2)])
        for rank in range(2)
    ]
    assert sorted(np.concatenate(parts)) == list(range(37))


def test_balanced_batches_hold_all_classes_equally_often():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    rows = np.concatenate([batch.rows for batch in batches(0, count=1000, weights=1.0 / np.bincount(labels)[labels])])
    assert len(rows) == 992
    assert all(0.28 < share < 0.39 for share in np.bincount(labels[rows]) / len(rows))
