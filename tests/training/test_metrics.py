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
