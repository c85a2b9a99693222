import pytest
import torch
from torch import nn

from leyden.models import ResNet
from leyden.models.resnet import stem_stride


@pytest.mark.parametrize(("size", "channels"), [((8, 8), 1), ((21, 33), 3), ((224, 160), 3)])
def test_accepts_any_size(size, channels):
    network = ResNet(channels, 5, size, width=8)
    assert network(torch.randn(2, channels, *size)).shape == (2, 5)


def test_stem_downsamples_large_images_only():
    assert [stem_stride((side, 400)) for side in (8, 32, 33, 64, 128, 224)] == [1, 1, 2, 2, 4, 8]


def test_depths_and_width_determine_the_layers():
    layers = ResNet(1, 2, (8, 8), 4, (2, 3)).modules()
    assert sum(isinstance(layer, nn.Conv2d) for layer in layers) == 1 + 2 * 5 + 1
    assert ResNet(1, 2, (8, 8), 4, (1, 1, 1, 1)).head.in_features == 32


def test_attribution_methods_can_hook_every_activation():
    calls: dict[nn.Module, int] = {}
    network = ResNet(1, 2, (8, 8), 4)
    for layer in network.modules():
        if isinstance(layer, nn.ReLU):
            assert not layer.inplace
            layer.register_forward_hook(lambda layer, *_: calls.update({layer: calls.get(layer, 0) + 1}))
    network(torch.randn(1, 1, 8, 8))
    assert len(calls) == 7
    assert set(calls.values()) == {1}
