"""Random numbers are a function of seed, epoch and step, for all libraries and for the generators of loaders."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from leyden.training.random_numbers import (
    EPOCH,
    STEP,
    find_generators,
    get_states,
    seed_generators,
    seed_loaders,
    set_states,
)

OWN = torch.Generator()


@pytest.fixture(autouse=True)
def restored():
    states = get_states()
    yield
    set_states(states)


def draw() -> tuple[float, float, float, float]:
    """Draw a number from each generator; between libraries they are never equal."""
    return float(torch.rand(())), float(np.random.rand()), random.random(), float(torch.rand((), generator=OWN))


def test_numbers_depend_on_each_part_of_the_entropy_and_on_the_stream():
    drawn = []
    for entropy, stream in (
        ([1, 2, 3], STEP),
        ([0, 2, 3], STEP),
        ([1, 0, 3], STEP),
        ([1, 2, 0], STEP),
        ([1, 2, 3], EPOCH),
    ):
        seed_generators(entropy, stream, [OWN])
        drawn.append(draw())
        draw()
        seed_generators(entropy, stream, [OWN])
        assert draw() == drawn[-1]
    assert len({number for numbers in drawn for number in numbers}) == 4 * len(drawn)


def test_states_are_restored():
    states = get_states()
    first = draw()[:3]
    set_states(states)
    assert draw()[:3] == first


def test_a_users_loader_is_seeded_when_its_first_batch_is_requested():
    """And again, without its own generators, if it goes on in the middle of an epoch."""
    loader = DataLoader(TensorDataset(torch.arange(20)), batch_size=4, shuffle=True, generator=OWN)
    seeded, first_batch = [], 0

    def seed(batch_idx, generators):
        seeded.append((batch_idx, list(generators)))
        seed_generators([7, batch_idx], EPOCH, generators)

    (requested,) = seed_loaders(lambda: [loader], seed, lambda: first_batch)()
    assert requested is loader
    iterator = iter(requested)
    assert seeded == []
    orders = [torch.cat([batch for (batch,) in batches]).tolist() for batches in (iterator, requested)]
    assert seeded == [(0, [OWN])] * 2
    assert orders[0] == orders[1] != list(range(20))
    first_batch = 3
    list(requested)
    assert seeded[2:] == [(0, [OWN]), (3, [])]
    (again,) = seed_loaders(lambda: [loader], seed, lambda: first_batch)()
    assert type(again).__mro__.count(DataLoader) == 1


def test_the_generators_of_loaders_and_samplers_are_found_once():
    data, other = TensorDataset(torch.arange(20)), torch.Generator()
    sampler = RandomSampler(data, generator=other)
    assert find_generators(DataLoader(data, sampler=sampler, generator=OWN)) == [OWN, other]
    assert find_generators(DataLoader(data, sampler=RandomSampler(data, generator=OWN), generator=OWN)) == [OWN]
    assert find_generators(DataLoader(data)) == []
