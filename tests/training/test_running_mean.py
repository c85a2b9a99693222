"""The mean of the training's losses."""

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from leyden.training.running_mean import RunningMean


def test_it_weighs_by_examples_and_starts_anew():
    mean = RunningMean()
    for _ in range(2):
        mean.update(torch.tensor(2.0), 30)
        mean.update(torch.tensor(5.0), 10)
        assert float(mean.compute(SingleDeviceStrategy("cpu"))) == pytest.approx(2.75)
        mean.reset()


def test_a_loss_that_is_no_number_shows():
    mean = RunningMean()
    mean.update(torch.tensor(float("nan")), 1)
    assert mean.compute(SingleDeviceStrategy("cpu")).isnan()


def test_adding_does_not_read_from_the_device():
    """The meta device has no values to read."""
    mean = RunningMean()
    mean.update(torch.tensor(1.0, device="meta"), 3)
    assert mean.total.device.type == "meta" and mean.weight == 3
