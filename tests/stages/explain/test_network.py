"""The rewritten network is the same network, with each ReLU in reach of hooks."""

import pytest
import torch
from captum.attr import GuidedBackprop
from torch import nn
from torch.nn import functional as F

from leyden.models import EarlyExitNet, FastCNN, PatchTransformer, ResNet, TorchvisionNet
from leyden.stages.explain.methods import attribute
from leyden.stages.explain.network import MAX_BATCH_SIZE, ExplainedNetwork


class Block(nn.Module):
    """Two rectified convolutions and a shortcut before the first ReLU."""

    def __init__(self, style: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third, self.head = (
            nn.Conv2d(1, 4, 3),
            nn.Conv2d(4, 4, 3),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Linear(4, 2),
        )
        self.relu, self.relu2 = nn.ReLU(), nn.ReLU()
        self.style = style

    def forward(self, x):
        if self.style == "function":
            x = F.relu(self.second(F.relu(self.first(x))))
        elif self.style == "method":
            x = self.second(self.first(x).relu()).relu_()
        elif self.style == "again":
            x = self.relu(self.second(self.relu(self.first(x))))
        else:
            x = self.relu2(self.second(self.relu(self.first(x))))
        return self.head((self.third(x) + x).mean((2, 3)))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("style", ["function", "method", "again"])
@pytest.mark.parametrize("name", ["deep_lift", "guided_grad_cam"])
def test_a_relu_in_any_style_gives_the_maps_of_modules(style, name, images):
    labels = torch.tensor([0, 1] * 3)
    usual, other = (
        attribute(name, ExplainedNetwork(Block(each), images), images, labels, seed=0) for each in ("modules", style)
    )
    assert usual.abs().max() > 0 and torch.allclose(usual, other, rtol=1e-3, atol=1e-4 * float(usual.abs().max()))


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_captum_alone_is_wrong_about_functions_without_an_error(images):
    usual, other = (
        GuidedBackprop(Block(style)).attribute(images.clone().requires_grad_(), 0) for style in ("modules", "function")
    )
    assert not torch.allclose(usual, other, atol=1e-4)  # else the rewriting could go


class PreActivated(nn.Module):
    """What the ReLU reads goes on beside it too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.relu, self.second, self.head = (
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Linear(4, 2),
        )

    def forward(self, x):
        x = self.first(x)
        return self.head((x + self.second(self.relu(x))).mean((2, 3)))


def test_a_shortcut_beside_a_relu_is_not_lost(images):
    found = attribute(
        "deep_lift", ExplainedNetwork(PreActivated(), images), images, torch.zeros(6, dtype=torch.long), seed=0
    )
    assert found.abs().max() > 0  # deep_lift itself refuses maps that do not add up


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
def test_every_network_of_the_project_is_rewritten_and_the_same(network, images):
    inputs = F.interpolate(images, (32, 32)) if isinstance(network, TorchvisionNet) else images
    network.train()(inputs)  # norms that are not the identity
    explained = ExplainedNetwork(network.eval(), inputs)
    assert explained.rewritten
    if not isinstance(network, FastCNN):  # which pools between convolution and norm
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in explained.network.modules())
    assert torch.allclose(explained.predict(inputs), network(inputs), rtol=1e-3, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in explained.parameters()) and any(
        each.requires_grad for each in network.parameters()
    )


def test_large_images_make_small_batches():
    network = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))
    sizes = [ExplainedNetwork(network, torch.zeros(2, 1, side, side)).batch_size for side in (8, 64, 128, 512)]
    assert (
        sizes[0] == MAX_BATCH_SIZE
        and sizes == sorted(sizes, reverse=True)
        and sizes[-1] == 1
        and 1 < sizes[2] < MAX_BATCH_SIZE
    )
