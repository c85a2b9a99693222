import copy

import pytest
import torch
from torch import nn

from leyden import Classifier
from leyden.training.onednn_workaround import apply_onednn_workaround


def gradients(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    network.zero_grad()
    network(images).square().sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_gradients_are_right_and_can_be_repeated(channels):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 16, 1, stride=2, bias=False))
    images = torch.randn(64, 3, 10, 10)
    exact = gradients(copy.deepcopy(network).double(), images.double())
    network.to(memory_format=torch.channels_last)
    apply_onednn_workaround(network)
    found = [gradients(network, images.contiguous(memory_format=torch.channels_last)) for _ in range(10)]
    for step in found:
        assert all(
            torch.allclose(ours.double(), theirs, rtol=1e-4, atol=1e-3)
            for ours, theirs in zip(step, exact, strict=True)
        )
        assert all(torch.equal(ours, first) for ours, first in zip(step, found[0], strict=True))


def test_a_classifier_has_the_guard_where_it_is_needed():
    spec = {"class_path": "leyden.models.ResNet", "init_args": {"width": 8}}
    model = Classifier(spec, ["a", "b"], {"channels": 1, "image_size": [8, 8], "mean": [0.5], "std": [0.5]})
    guarded = {name for name, part in model.named_modules() if part._forward_pre_hooks}
    strided = {
        name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1)
    }
    assert len(strided) == 2 and guarded == {name for name, part in strided.items() if part.in_channels == 8}
    assert all(part.weight.stride()[3] == 1 for name, part in strided.items() if name in guarded)
