"""Networks that learned where the evidence is, trained once."""

import pytest
import torch

from leyden.models import PatchTransformer, ResNet
from leyden.stages.explain.network import ExplainedNetwork
from tests.stages.explain.evidence_set import EvidenceSet, make_evidence, train


@pytest.fixture(scope="session")
def known() -> EvidenceSet:
    return make_evidence(32, seed=999)


@pytest.fixture(scope="session")
def cnn(known: EvidenceSet) -> ExplainedNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = train(ResNet(1, 2, (16, 16), width=8, depths=(1, 1)), num_steps=40)
    return ExplainedNetwork(network, known.images)


@pytest.fixture(scope="session")
def transformer(known: EvidenceSet) -> ExplainedNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = train(PatchTransformer(1, 2, (16, 16), patch_size=4, width=16, depth=2, heads=2), num_steps=80)
    return ExplainedNetwork(network, known.images)
