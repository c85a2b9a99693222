"""Networks trained once on images in which it is known what decides the class."""

import pytest
import torch

from leyden.models import PatchTransformer, ResNet
from leyden.stages.explain.network import ExplainedNetwork
from tests.stages.explain.patch_set import PatchSet, explain_network, make_patches, train


@pytest.fixture(scope="session")
def patches() -> PatchSet:
    return make_patches(32, seed=999)


@pytest.fixture(scope="session")
def cnn(patches: PatchSet) -> ExplainedNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = train(ResNet(1, 2, (16, 16), width=8, depths=(1, 1)), num_steps=40)
    return explain_network(network, patches.images)


@pytest.fixture(scope="session")
def transformer(patches: PatchSet) -> ExplainedNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = train(PatchTransformer(1, 2, (16, 16), patch_size=4, width=16, depth=2, heads=2), num_steps=80)
    return explain_network(network, patches.images)
