"""The rewritten network has the same logits, and each call of a ReLU is a module that can be hooked."""

import pytest
import torch
from captum.attr import GuidedBackprop
from torch import nn
from torch.nn import functional as F

from leyden.models import EarlyExitNet, FastCNN, PatchTransformer, ResNet, TorchvisionNet
from leyden.stages.explain.network import MAX_BATCH_SIZE
from tests.stages.explain.patch_set import explain_class, explain_network


class Block(nn.Module):
    """Convolutions with ReLUs written in different styles, and a shortcut that starts after a ReLU."""

    def __init__(self, style: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.third, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)
        self.relu, self.relu2 = nn.ReLU(), nn.ReLU()
        self.style = style

    def forward(self, x):
        if self.style == "function":
            x = F.relu(self.second(F.relu(self.first(x))))
        elif self.style == "method":
            x = self.second(self.first(x).relu()).relu_()
        elif self.style == "shared":
            x = self.relu(self.second(self.relu(self.first(x))))
        else:
            x = self.relu2(self.second(self.relu(self.first(x))))
        return self.head((self.third(x) + x).mean((2, 3)))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("style", ["function", "method", "shared"])
@pytest.mark.parametrize("name", ["deep_lift", "guided_grad_cam"])
def test_a_relu_in_any_style_has_the_maps_of_separate_modules(style, name, images):
    labels = torch.tensor([0, 1] * 3)
    expected, maps = (
        explain_class(name, explain_network(Block(each), images), images, labels, seed=0) for each in ("modules", style)
    )
    assert expected.abs().max() > 0
    assert torch.allclose(expected, maps, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_captum_alone_is_silently_wrong_about_functions(images):
    expected, maps = (
        GuidedBackprop(Block(style)).attribute(images.clone().requires_grad_(), 0) for style in ("modules", "function")
    )
    assert not torch.allclose(expected, maps, atol=1e-4)  # otherwise, rewriting would be unnecessary


class PreActivation(nn.Module):
    """A shortcut that starts before a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.relu = nn.Conv2d(1, 4, 3), nn.ReLU()
        self.second, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x):
        x = self.first(x)
        return self.head((x + self.second(self.relu(x))).mean((2, 3)))


def test_a_shortcut_past_a_relu_is_kept(images):
    network = explain_network(PreActivation(), images)
    maps = explain_class("deep_lift", network, images, torch.zeros(6, dtype=torch.long), seed=0)
    assert maps.abs().max() > 0  # deep_lift itself refuses maps that do not add up


@pytest.mark.parametrize(
    "network",
    [
        ResNet(1, 5, (12, 12), width=8),
        FastCNN(1, 5, (12, 12), widths=(8, 8), mirror=True),
        EarlyExitNet(1, 5, (12, 12), width=8, threshold=0.5),
        PatchTransformer(1, 5, (12, 12), width=8, depth=2, heads=2),
        TorchvisionNet(1, 5, (32, 32), name="resnet18"),
    ],
    ids=lambda network: type(network).__name__,
)
def test_every_network_of_the_project_is_rewritten_with_the_same_logits(network, images):
    inputs = F.interpolate(images, (32, 32)) if isinstance(network, TorchvisionNet) else images
    network.train()(inputs)  # so that batch norms are not the identity
    explained = explain_network(network.eval(), inputs)
    assert explained.is_rewritten
    if not isinstance(network, FastCNN):  # which pools between convolution and batch norm
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in explained.network.modules())
    assert torch.allclose(explained.predict(inputs, inputs), network(inputs), rtol=1e-3, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in explained.parameters())
    assert any(parameter.requires_grad for parameter in network.parameters())


def test_large_images_are_processed_in_small_batches():
    network = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))
    sizes = [explain_network(network, torch.zeros(2, 1, side, side)).batch_size for side in (8, 64, 128, 512)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == MAX_BATCH_SIZE
    assert sizes[-1] == 1
    assert 1 < sizes[2] < MAX_BATCH_SIZE
