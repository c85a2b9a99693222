"""Batches: whole, complete, and a function of (seed, epoch, step)."""

import numpy as np
import pytest
import torch

from leyden import ImageData, UserError
from leyden.data.datamodule import BatchSampler
from leyden.data.packed import read_split


def draws(epoch: int, seed: int = 0, count: int = 100) -> list:
    sampler = BatchSampler(count, 16, seed, shuffle=True)
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


def test_batches_hold_the_packed_pixels(in_trained):
    data = ImageData(batch_size=32)
    split = read_split("artifacts/prepare", "val")
    images, labels, _ = next(iter(data.val_dataloader()))
    assert images.dtype == torch.uint8 and images.shape == (128, 1, 8, 8) and images.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), split.images[:128])
    assert np.array_equal(labels.numpy(), split.labels[:128])


def test_workers_give_the_same_batches(in_trained):
    alone, helped = (ImageData(batch_size=64, num_workers=n).train_dataloader() for n in (0, 2))
    for (a, b, seed), (c, d, other) in zip(alone, helped, strict=True):
        assert torch.equal(a, c) and torch.equal(b, d) and seed == other


def test_missing_data_and_bad_batch_size(tmp_path, in_trained):
    with pytest.raises(UserError, match="run `leyden prepare` first"):
        ImageData(str(tmp_path))
    with pytest.raises(UserError, match="batch_size must be at least 1; got 0"):
        ImageData(batch_size=0)
