import pytest
import torch
from torch import nn

from leyden.training.schedules import Schedule, group_size, make_schedule, warmup_cosine


def rates(name, total, warmup_fraction):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0, momentum=0.7)
    schedule = make_schedule(Schedule(name, warmup_fraction), optimizer, total)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()  # also after the last step, as Lightning does
    assert optimizer.param_groups[0]["momentum"] == 0.7
    return found


def test_learning_rate_rises_then_falls_to_nothing():
    factors = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert factors[:10] == sorted(factors[:10]) and max(factors) == factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True) and factors[100] == pytest.approx(0)
    assert factors[0] > 0


def test_one_cycle_rises_to_the_learning_rate_and_falls_below_its_start():
    found = rates("one_cycle", 100, 0.3)
    assert max(found) == pytest.approx(2.0) and found.index(max(found)) == 29
    assert found[:30] == sorted(found[:30]) and found[29:] == sorted(found[29:], reverse=True)
    assert found[0] == pytest.approx(2 / 25) and found[-1] < found[0] / 1000


def test_linear_falls_by_equal_steps_to_nothing():
    found = rates("linear", 100, 0.2)
    assert found[:21] == sorted(found[:21]) and found.index(max(found)) == 20 and max(found) == 2.0
    assert [found[20 + step] for step in range(0, 80, 20)] == pytest.approx([2.0, 1.5, 1.0, 0.5])
    assert rates("linear", 4, 0.0) == [2.0, 1.5, 1.0, 0.5]


def test_constant_stays_after_the_warm_up():
    found = rates("constant", 20, 0.25)
    assert found[:5] == sorted(found[:5]) and found[0] < 0.5 and set(found[5:]) == {2.0}
    assert rates("constant", 3, 0.0) == [2.0] * 3


@pytest.mark.parametrize("name", ["cosine", "linear", "one_cycle", "constant"])
@pytest.mark.parametrize("total", [1, 2])
def test_the_shortest_training_has_a_schedule(name, total):
    assert all(rate >= 0 for rate in rates(name, total, 0.1))


def test_the_last_group_of_accumulated_batches_may_be_smaller():
    assert [group_size(batch, 4, 10) for batch in range(10)] == [4] * 8 + [2] * 2
    assert [group_size(batch, 1, 3) for batch in range(3)] == [1] * 3
    assert group_size(5, 4, float("inf")) == 4
