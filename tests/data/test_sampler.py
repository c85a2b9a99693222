"""Which rows make a batch: complete, reproducible, and the same on any number of processes."""

import numpy as np
import pytest

from leyden.data.sampler import BatchSampler, balancing_weights


def draws(epoch: int, seed: int = 0, count: int = 100, **options) -> list:
    sampler = BatchSampler(count, 16, seed, shuffle=True, **options)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_order_is_a_function_of_seed_and_epoch():
    first, again, later, other = draws(3), draws(3), draws(4), draws(3, seed=1)
    assert all(np.array_equal(a.rows, b.rows) and a.seed == b.seed for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].rows, later[0].rows) and not np.array_equal(first[0].rows, other[0].rows)
    assert len({draw.seed for draw in first + later + other}) == 18


def test_training_epoch_has_no_example_twice_and_only_full_batches():
    rows = np.concatenate([draw.rows for draw in draws(0)])
    assert len(rows) == len(set(rows)) == 96


def test_few_examples_still_make_a_batch():
    assert [len(draw.rows) for draw in draws(0, count=5)] == [5]


def test_validation_sees_every_example_once_in_order():
    sampler = BatchSampler(37, 16, 0, shuffle=False)
    assert len(sampler) == 3
    assert np.array_equal(np.concatenate([draw.rows for draw in sampler]), np.arange(37))


@pytest.mark.parametrize("epoch", [0, 5])
def test_two_processes_draw_the_global_batches_of_one(epoch):
    one = BatchSampler(100, 16, 0, shuffle=True)
    two = [BatchSampler(100, 8, 0, shuffle=True, rank=rank, world_size=2) for rank in range(2)]
    for sampler in (one, *two):
        sampler.set_epoch(epoch)
    for whole, first, second in zip(one, *two, strict=True):
        assert whole.seed == first.seed == second.seed
        assert np.array_equal(whole.rows[0::2], first.rows) and np.array_equal(whole.rows[1::2], second.rows)


def test_an_odd_test_set_is_split_without_padding():
    parts = [
        np.concatenate([draw.rows for draw in BatchSampler(37, 4, 0, False, rank=rank, world_size=2)])
        for rank in range(2)
    ]
    assert sorted(np.concatenate(parts)) == list(range(37))


def test_balanced_batches_hold_all_classes_equally_often():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    rows = np.concatenate([draw.rows for draw in draws(0, count=1000, weights=balancing_weights(labels))])
    assert len(rows) == 992
    assert all(0.28 < share < 0.39 for share in np.bincount(labels[rows]) / len(rows))
