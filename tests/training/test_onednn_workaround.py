"""With the workarounds, gradients of strided convolutions are correct and reproducible."""

import copy

import pytest
import torch
from torch import nn

from leyden import SupervisedModule
from leyden.training.onednn_workaround import apply_onednn_workarounds


def compute_gradients(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    network.zero_grad()
    network(images).square().sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_gradients_of_1x1_convolutions_are_correct_and_reproducible(channels):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 16, 1, stride=2, bias=False))
    images = torch.randn(64, 3, 10, 10)
    exact = compute_gradients(copy.deepcopy(network).double(), images.double())
    network.to(memory_format=torch.channels_last)
    apply_onednn_workarounds(network)
    repeats = [compute_gradients(network, images.contiguous(memory_format=torch.channels_last)) for _ in range(10)]
    for gradients in repeats:
        for gradient, expected, first in zip(gradients, exact, repeats[0], strict=True):
            assert torch.allclose(gradient.double(), expected, rtol=1e-4, atol=1e-3)
            assert torch.equal(gradient, first)


@pytest.mark.parametrize("is_whole_network_bf16", [False, True], ids=["mixed", "true"])
@pytest.mark.parametrize(
    ("convolution", "sides"),
    [
        (nn.Conv2d(48, 48, 3, 2, 1), (1, 1)),
        (nn.Conv2d(32, 64, 3, 4, 1, bias=False), (3, 3)),
        (nn.Conv2d(32, 64, 5, (1, 3), 2), (8, 2)),
        (nn.Conv1d(32, 64, 5, 2, 2), (1,)),
        (nn.Conv2d(48, 48, 3, 2, 1), (4, 4)),  # long enough: computed in bfloat16
    ],
)
def test_gradients_in_bfloat16_for_inputs_shorter_than_the_stride(convolution, sides, is_whole_network_bf16):
    torch.manual_seed(0)
    inputs = torch.randn(64, convolution.in_channels, *sides)
    exact = compute_gradients(copy.deepcopy(convolution).double(), inputs.double())
    network = nn.Sequential(copy.deepcopy(convolution))
    if is_whole_network_bf16:
        network, inputs = network.bfloat16(), inputs.bfloat16()
    apply_onednn_workarounds(network)
    network = copy.deepcopy(network)  # as averaged weights do
    for _ in range(5):
        spoiled = [torch.full((100_000,), torch.nan) for _ in range(4)]  # so that memory that is not written shows
        del spoiled
        with torch.autocast("cpu", torch.bfloat16, enabled=not is_whole_network_bf16):
            gradients = compute_gradients(network, inputs)
        for gradient, expected in zip(gradients, exact, strict=True):
            assert (gradient.double() - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_classifier_has_the_first_only_where_it_is_needed():
    spec = {"class_path": "leyden.models.ResNet", "init_args": {"width": 8}}
    model = SupervisedModule(spec, ["a", "b"], {"channels": 1, "image_size": [8, 8], "mean": [0.5], "std": [0.5]})
    modules = dict(model.named_modules())
    hooked = {name for name, module in modules.items() if module._forward_pre_hooks}
    pointwise = [name for name, each in modules.items() if isinstance(each, nn.Conv2d) and each.kernel_size == (1, 1)]
    assert len(pointwise) == 2
    assert hooked == {name for name in pointwise if modules[name].in_channels == 8}
    assert all(modules[name].weight.stride()[3] == 1 for name in hooked)
