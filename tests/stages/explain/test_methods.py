"""Each method highlights the patch that decides the class, or reports why it does not apply."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from leyden.cli import function_parser
from leyden.stages.explain import explain
from leyden.stages.explain.methods import METHODS, UNSIGNED, describe_layer
from leyden.stages.explain.network import NotApplicableError
from tests.stages.explain.patch_set import explain_class, explain_network, fraction_by_chance, fraction_inside

RANDOM = ("smooth_grad", "gradient_shap", "kernel_shap", "lime")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_highlights_the_patch_of_its_own_image(name, cnn, transformer, patches):
    network = transformer if name == "attention_rollout" else cnn
    maps = explain_class(name, network, patches.images, patches.labels, seed=0)
    assert maps.shape == patches.inside.shape
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()
    inside, elsewhere, chance = (
        fraction_inside(maps, patches.inside),
        fraction_inside(maps.roll(1, 0), patches.inside),
        fraction_by_chance(patches.inside),
    )
    assert inside > (1.2 if name in UNSIGNED else 3) * max(chance, elsewhere)
    if name in UNSIGNED:
        assert maps.min() >= 0


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_gives_the_same_maps_and_restores_the_generators(name, cnn, transformer, patches):
    network = transformer if name == "attention_rollout" else cnn
    images, labels = patches.images[:3], patches.labels[:3]
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = explain_class(name, network, images, labels, seed=3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    torch.rand(5)
    np.random.rand(5)
    assert torch.equal(explain_class(name, network, images, labels, seed=3), first)
    if name in RANDOM:
        assert not torch.equal(explain_class(name, network, images, labels, seed=4), first)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in (*RANDOM, "attention_rollout")])
def test_batches_are_concatenated_in_order(name, cnn, patches):
    small = copy.deepcopy(cnn)
    small.batch_size = 2
    whole, parts = (
        explain_class(name, network, patches.images[:5], patches.labels[:5], seed=0) for network in (cnn, small)
    )
    assert torch.allclose(whole, parts, atol=1e-4 * float(whole.abs().max()))


def test_maps_depend_on_the_target_class(cnn, patches):
    for name in ("integrated_gradients", "occlusion", "deep_lift", "grad_cam"):
        one, other = (
            explain_class(name, cnn, patches.images, labels, seed=0) for labels in (patches.labels, 1 - patches.labels)
        )
        assert not torch.allclose(one, other)
        assert fraction_inside(other, patches.inside) < fraction_inside(one, patches.inside)


def refusal(name: str, network: nn.Module, images: torch.Tensor) -> str:
    with pytest.raises(NotApplicableError) as caught:
        targets = torch.zeros(len(images), dtype=torch.long)
        explain_class(name, explain_network(network.eval(), images), images, targets, seed=0)
    return str(caught.value)


def convolutional(*activations: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3)]
    for activation in activations:
        layers += [activation, nn.Conv2d(4, 4, 3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2))


def test_gelu_is_refused_where_the_maps_would_be_wrong(patches):
    network = convolutional(nn.GELU(), nn.ReLU())
    network(patches.images)
    assert "DeepLIFT has no rule for" in refusal("deep_lift", network, patches.images)
    assert "defined for ReLU only" in refusal("guided_grad_cam", network, patches.images)


class Clamped(nn.Module):
    """A ReLU that is not recognised as one."""

    def forward(self, x):
        return x.clamp(min=0)


def test_an_unrecognised_relu_is_detected(patches):
    network = convolutional(Clamped(), nn.ReLU())
    network(patches.images)
    assert "DeepLIFT has no rule for" in refusal("deep_lift", network, patches.images)
    assert "still not linear" in refusal("guided_grad_cam", network, patches.images)


class Untraceable(nn.Module):
    """A ReLU that is called twice, in a branch that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.activation = convolutional(), nn.ReLU()

    def forward(self, x):
        for layer in self.layers:
            x = self.activation(layer(x)) if float(x.detach().max()) > -1e9 else x
        return x


def test_a_network_that_cannot_be_traced_is_refused_where_that_matters(patches):
    network = Untraceable()
    network(patches.images)
    assert "if your module is being used" in refusal("deep_lift", network, patches.images)
    assert "cannot trace" in refusal("guided_grad_cam", network, patches.images)
    maps = explain_class("occlusion", explain_network(network, patches.images), patches.images, patches.labels, seed=0)
    assert maps.abs().max() > 0


def test_grad_cam_needs_spatial_dimensions_and_names_its_layer(cnn, transformer, patches):
    assert describe_layer("grad_cam", cnn) == "; reads layer blocks.1.activation2, 8 x 8"
    assert describe_layer("saliency", cnn) == ""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
    assert "no layer has outputs with spatial dimensions" in refusal("grad_cam", flat, patches.images)
    assert "continues with tokens" in refusal("grad_cam", transformer.original, patches.images)


def test_rollout_needs_attention(cnn, patches):
    assert "no attention maps" in refusal("attention_rollout", cnn.original, patches.images)


def test_help_lists_every_method():
    text = function_parser(explain, "explain").format_help()
    assert [name for name in METHODS if name not in text] == []
