"""Folding batch norms removes them and keeps the logits."""

import pytest
import torch
from torch import nn

from leyden.models import ResNet, TorchvisionNet
from leyden.models.batch_norm_folding import fold_batch_norms


def count_batch_norms(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResNet(1, 3, (8, 8), width=4),
        lambda: TorchvisionNet(1, 3, (32, 32), "resnet18"),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), *(nn.BatchNorm2d(2) for _ in range(6))),
    ],
)
def test_folded_batch_norms_do_not_change_the_logits(make):
    torch.manual_seed(0)
    network = make()
    for _ in range(3):
        network(torch.randn(8, 1, 32, 32) + 1)
    folded, images = fold_batch_norms(network.eval()), torch.randn(4, 1, 32, 32)
    assert count_batch_norms(folded) == 0
    assert count_batch_norms(network) > 5
    with torch.no_grad():
        assert torch.allclose(folded(images), network(images), atol=1e-4)
