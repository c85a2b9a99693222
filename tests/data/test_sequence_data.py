"""Batches of sequences have similar lengths and are complete, reproducible, and the same on any number of processes."""

import numpy as np
import pytest
import torch

from leyden import SequenceData, UserError
from leyden.data.packed import read_examples
from leyden.data.sampler import BatchSampler


def epoch_of(sampler: BatchSampler, epoch: int) -> list[np.ndarray]:
    sampler.set_epoch(epoch)
    return [batch.rows for batch in sampler]


LENGTHS = np.random.default_rng(0).integers(1, 500, 1003)


def bucketed(num_batches: int, rank: int = 0, world_size: int = 1, batch_size: int = 20) -> BatchSampler:
    return BatchSampler(1003, batch_size, 7, True, None, rank, world_size, LENGTHS, num_batches)


def padding(batches: list[np.ndarray]) -> float:
    """Return the fraction of a padded epoch that is padding."""
    padded = sum(LENGTHS[rows].max() * len(rows) for rows in batches)
    return 1 - sum(LENGTHS[rows].sum() for rows in batches) / padded


def test_buckets_have_little_padding_and_repeat_no_example():
    batches = epoch_of(bucketed(10), 0)
    assert len(batches) == 50
    assert len(np.unique(np.concatenate(batches))) == 1000
    assert padding(batches) < 0.12 < 0.4 < padding(epoch_of(bucketed(1), 0))
    means = np.array([LENGTHS[rows].mean() for rows in batches])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.4  # short and long batches alternate


def test_dropped_examples_have_all_lengths():
    dropped = [np.setdiff1d(np.arange(1003), np.concatenate(epoch_of(bucketed(10), epoch))) for epoch in range(40)]
    assert (
        abs(LENGTHS[np.concatenate(dropped)].mean() - LENGTHS.mean()) < 60
    )  # 4 standard errors of 120 drawn; the longest alone are 240 away


def test_batches_are_a_function_of_the_epoch():
    first, second = epoch_of(bucketed(10), 0), epoch_of(bucketed(10), 1)
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert all(map(np.array_equal, second, epoch_of(bucketed(10), 1)))


def test_two_processes_share_the_batch_of_one():
    expected = epoch_of(bucketed(5, batch_size=20), 3)
    parts = [epoch_of(bucketed(5, rank, 2, batch_size=10), 3) for rank in (0, 1)]
    for all_rows, left, right in zip(expected, *parts, strict=True):
        assert np.array_equal(np.sort(np.concatenate([left, right])), all_rows)


def test_batches_hold_the_packed_values(in_sequences):
    data = SequenceData(batch_size=8)
    sequences, labels = read_examples("artifacts/prepare", "val")
    (values, lengths), targets = next(iter(data.val_dataloader()))
    expected = sequences[:32]
    assert values.dtype == torch.float32
    assert np.array_equal(values, expected.values)
    assert np.array_equal(lengths, expected.lengths)
    assert np.array_equal(targets, labels[:32])
    assert sum(len(targets) for _, targets in data.val_dataloader()) == len(labels)


def test_balanced_sampling_draws_all_classes_equally_often(in_sequences):
    data = SequenceData(batch_size=64, sampler="balanced")
    labels = torch.cat([targets for _, targets in data.train_dataloader()])
    counts = torch.bincount(labels, minlength=3) / len(labels)
    assert data.class_counts[0] > 2 * data.class_counts[2]
    assert counts.max() - counts.min() < 0.3


@pytest.mark.parametrize(
    ("options", "words"),
    [({"batch_size": 0}, "batch_size"), ({"bucket_batches": 0}, "bucket_batches"), ({"sampler": "x"}, "balanced")],
)
def test_invalid_settings_are_rejected(in_sequences, options, words):
    with pytest.raises(UserError, match=words):
        SequenceData(**options)


def test_data_of_the_other_kind_is_rejected(in_trained, sequences_prepared, error_of):
    with pytest.raises(UserError, match=r"holds images; set data to leyden.ImageData"):
        SequenceData()
    assert "holds sequences; set data to leyden.SequenceData" in error_of(
        "fit", "--data=leyden.ImageData", f"--data.folder={sequences_prepared}/artifacts/prepare"
    )
