"""The running mean of the training loss: weighted by examples, and computed without reading from the device."""

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from leyden.training.metrics import RunningMean


def test_it_weighs_by_examples_and_can_be_reset():
    mean = RunningMean()
    for _ in range(2):
        mean.update(torch.tensor(2.0), 30)
        mean.update(torch.tensor(5.0), 10)
        assert float(mean.compute(SingleDeviceStrategy("cpu"))) == pytest.approx(2.75)
        mean.reset()


def test_nan_is_not_ignored():
    mean = RunningMean()
    mean.update(torch.tensor(float("nan")), 1)
    assert mean.compute(SingleDeviceStrategy("cpu")).isnan()


def test_update_does_not_read_from_the_device():
    """A value on the meta device cannot be read."""
    mean = RunningMean()
    mean.update(torch.tensor(1.0, device="meta"), 3)
    assert mean.total.device.type == "meta"
    assert mean.weight == 3


def test_gathered_sums_are_restored_by_rank_and_by_rank_0_if_the_number_of_processes_has_changed():
    sums = [[6.0, 2.0], [10.0, 3.0]]
    for rank, world_size, restored in ((1, 2, [10, 3]), (0, 1, [16, 5]), (0, 3, [16, 5]), (2, 3, [0, 0])):
        mean = RunningMean()
        mean.restore(sums, rank, world_size)
        assert mean.gather() == [restored]
