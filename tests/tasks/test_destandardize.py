"""Targets in their units."""

import torch

from leyden.tasks.destandardize import Destandardize, ScaledHuber


def test_outputs_are_in_units_and_mean_and_deviation_are_stored():
    module = Destandardize([10.0, 0.0], [2.0, 0.5])
    assert module(torch.tensor([[0.0, 2.0], [-1.0, 0.0]])).tolist() == [[10.0, 1.0], [8.0, 0.0]]
    assert {name: value.tolist() for name, value in module.state_dict().items()} == {
        "target_mean": [10.0, 0.0],
        "target_std": [2.0, 0.5],
    }


def test_the_loss_is_quadratic_up_to_one_deviation_and_linear_above():
    loss = ScaledHuber([10.0])
    assert [float(loss(torch.tensor([[error]]), torch.zeros(1, 1))) for error in (5.0, -10.0, 30.0)] == [
        0.125,
        0.5,
        2.5,
    ]


def test_the_loss_is_float32_in_a_bfloat16_module():
    loss = ScaledHuber([0.1]).bfloat16()(torch.ones(1, 1, dtype=torch.bfloat16), torch.zeros(1, 1))
    assert loss.dtype == torch.float32
