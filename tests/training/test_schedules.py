"""Learning-rate schedules over a whole training, and the size of accumulated groups."""

import pytest
import torch
from torch import nn

from leyden.training.schedules import Schedule, accumulation_size, make_schedule, warmup_factor


def learning_rates(name, total, warmup_fraction):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0, momentum=0.7)
    schedule = make_schedule(Schedule(name, warmup_fraction), optimizer, total)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()  # also after the last step, as Lightning does
    assert optimizer.param_groups[0]["momentum"] == 0.7
    return rates


def test_cosine_rises_then_falls_to_zero():
    factors = [warmup_factor("cosine", step, 100, 0.1) for step in range(101)]
    assert factors[:10] == sorted(factors[:10])
    assert max(factors) == factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0)
    assert factors[0] > 0


def test_one_cycle_rises_to_the_learning_rate_and_falls_below_its_start():
    rates = learning_rates("one_cycle", 100, 0.3)
    assert max(rates) == pytest.approx(2.0)
    assert rates.index(max(rates)) == 29
    assert rates[:30] == sorted(rates[:30])
    assert rates[29:] == sorted(rates[29:], reverse=True)
    assert rates[0] == pytest.approx(2 / 25)
    assert rates[-1] < rates[0] / 1000


def test_linear_falls_by_equal_steps_to_zero():
    rates = learning_rates("linear", 100, 0.2)
    assert rates[:21] == sorted(rates[:21])
    assert rates.index(max(rates)) == 20
    assert max(rates) == 2.0
    assert [rates[20 + step] for step in range(0, 80, 20)] == pytest.approx([2.0, 1.5, 1.0, 0.5])
    assert learning_rates("linear", 4, 0.0) == [2.0, 1.5, 1.0, 0.5]


def test_constant_does_not_change_after_the_warm_up():
    rates = learning_rates("constant", 20, 0.25)
    assert rates[:5] == sorted(rates[:5])
    assert rates[0] < 0.5
    assert set(rates[5:]) == {2.0}
    assert learning_rates("constant", 3, 0.0) == [2.0] * 3


@pytest.mark.parametrize("name", ["cosine", "linear", "one_cycle", "constant"])
@pytest.mark.parametrize("total", [1, 2])
def test_the_shortest_training_has_a_schedule(name, total):
    assert all(rate >= 0 for rate in learning_rates(name, total, 0.1))


def test_the_last_group_of_accumulated_batches_may_be_smaller():
    assert [accumulation_size(batch, 4, 10) for batch in range(10)] == [4] * 8 + [2] * 2
    assert [accumulation_size(batch, 1, 3) for batch in range(3)] == [1] * 3
    assert accumulation_size(5, 4, float("inf")) == 4
