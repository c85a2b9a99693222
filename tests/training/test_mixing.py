"""Mixup and CutMix: targets fit the pixels, and several processes mix as one does."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from leyden.training.mixing import Mixing, draw_partners, mix

INPUTS = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).clone()
LABELS = torch.tensor([0, 1, 2, 3])
TARGETS = one_hot(LABELS).float()


@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_targets_are_the_fractions_of_the_pixels(alphas):
    for step in range(20):
        inputs, targets = mix(INPUTS, TARGETS, Mixing(*alphas), seed=[0, step])
        assert torch.allclose(targets.sum(1), torch.ones(4))
        # Each image's pixels equal its label, so that the means of pixels and labels must agree.
        assert torch.allclose(inputs.mean(dim=(1, 2, 3)), (targets * LABELS).sum(1), atol=1e-5)


def test_mixup_blends_and_cutmix_pastes():
    blended, _ = mix(INPUTS, TARGETS, Mixing(1.0, 0.0), seed=[1])
    pasted, _ = mix(INPUTS, TARGETS, Mixing(0.0, 1.0), seed=[1])
    assert all(len(image.unique()) == 1 for image in blended)
    assert set(pasted.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_the_seed_determines_the_mix_and_the_inputs_are_not_changed():
    before = INPUTS.clone()
    cutmix, mixup = Mixing(0.0, 1.0), Mixing(1.0, 0.0)
    assert torch.equal(mix(INPUTS, TARGETS, cutmix, [3])[0], mix(INPUTS, TARGETS, cutmix, [3])[0])
    assert not torch.equal(mix(INPUTS, TARGETS, mixup, [3])[0], mix(INPUTS, TARGETS, mixup, [4])[0])
    assert torch.equal(INPUTS, before)


@pytest.mark.parametrize("count", [8, 16, 64, 100, 4])
def test_partners_are_a_permutation(count):
    partners = draw_partners(count, [0], 0, 1)
    assert sorted(partners) == list(range(count))
    assert (partners != np.arange(count)).any()
    assert not np.array_equal(partners, draw_partners(count, [1], 0, 1))


@pytest.mark.parametrize(("world_size", "count"), [(2, 64), (4, 64), (8, 64), (2, 16), (4, 32)])
@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 1.0)])
def test_processes_mix_their_parts_as_one_process_mixes_the_whole(world_size, count, alphas):
    generator = torch.Generator().manual_seed(0)
    inputs, targets = (torch.rand(count, *shape, generator=generator) for shape in ((3, 8, 8), (4,)))
    whole = mix(inputs, targets, Mixing(*alphas), [7])
    for rank in range(world_size):
        part = mix(inputs[rank::world_size], targets[rank::world_size], Mixing(*alphas), [7], rank, world_size)
        assert all(torch.equal(got, expected[rank::world_size]) for got, expected in zip(part, whole, strict=True))


def test_three_processes_draw_permutations_too():
    assert sorted(draw_partners(5, [0], 2, 3)) == list(range(5))
