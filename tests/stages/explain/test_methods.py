"""Each method points at the patch that decides, or says why it cannot."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from leyden.cli import function_parser
from leyden.stages.explain import explain
from leyden.stages.explain.methods import METHODS, UNSIGNED, attribute, describe_layer
from leyden.stages.explain.network import ExplainedNetwork, Refused
from tests.stages.explain.evidence_set import share_inside, share_of_chance

DRAWING = ("smooth_grad", "gradient_shap", "kernel_shap", "lime")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_points_at_the_evidence_of_its_own_image(name, cnn, transformer, known):
    network = transformer if name == "attention_rollout" else cnn
    maps = attribute(name, network, known.images, known.labels, seed=0)
    assert maps.shape == known.inside.shape and maps.dtype == torch.float32 and maps.isfinite().all()
    own, of_next, chance = (
        share_inside(maps, known.inside),
        share_inside(maps.roll(1, 0), known.inside),
        share_of_chance(known.inside),
    )
    assert own > (1.2 if name in UNSIGNED else 3) * max(chance, of_next)  # the next image's evidence lies elsewhere
    if name in UNSIGNED:
        assert maps.min() >= 0


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_gives_the_same_maps_and_leaves_the_generators_alone(name, cnn, transformer, known):
    network = transformer if name == "attention_rollout" else cnn
    images, labels = known.images[:3], known.labels[:3]
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = attribute(name, network, images, labels, seed=3)
    assert torch.equal(torch.get_rng_state(), states[0]) and np.array_equal(np.random.get_state()[1], states[1])
    torch.rand(5)
    np.random.rand(5)
    assert torch.equal(attribute(name, network, images, labels, seed=3), first)
    if name in DRAWING:
        assert not torch.equal(attribute(name, network, images, labels, seed=4), first)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in (*DRAWING, "attention_rollout")])
def test_batches_are_put_together_in_order(name, cnn, known):
    small = copy.deepcopy(cnn)
    small.batch_size = 2
    whole, parts = (attribute(name, network, known.images[:5], known.labels[:5], seed=0) for network in (cnn, small))
    assert torch.allclose(whole, parts, atol=1e-4 * float(whole.abs().max()))


def test_maps_are_of_the_class_that_is_asked_for(cnn, known):
    for name in ("integrated_gradients", "occlusion", "deep_lift", "grad_cam"):
        one, other = (attribute(name, cnn, known.images, labels, seed=0) for labels in (known.labels, 1 - known.labels))
        assert not torch.allclose(one, other) and share_inside(other, known.inside) < share_inside(one, known.inside)


def refusal(name: str, network: nn.Module, images: torch.Tensor) -> str:
    with pytest.raises(Refused) as caught:
        attribute(
            name, ExplainedNetwork(network.eval(), images), images, torch.zeros(len(images), dtype=torch.long), seed=0
        )
    return str(caught.value)


def convolutional(*activations: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3)]
    for activation in activations:
        layers += [activation, nn.Conv2d(4, 4, 3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2))


def test_gelu_is_refused_where_the_answer_would_be_wrong(known):
    network = convolutional(nn.GELU(), nn.ReLU())
    network(known.images)
    assert "DeepLIFT has no rule for" in refusal("deep_lift", network, known.images)
    assert "defined for ReLU only" in refusal("guided_grad_cam", network, known.images)


class Clamped(nn.Module):
    """A ReLU by another name."""

    def forward(self, x):
        return x.clamp(min=0)


def test_a_hidden_rectifier_is_found_without_its_name(known):
    network = convolutional(Clamped(), nn.ReLU())
    network(known.images)
    assert "DeepLIFT has no rule for" in refusal("deep_lift", network, known.images)
    assert "still not linear" in refusal("guided_grad_cam", network, known.images)


class Untraceable(nn.Module):
    """One ReLU for two calls, in a way that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.activation = convolutional(), nn.ReLU()

    def forward(self, x):
        for layer in self.layers:
            x = self.activation(layer(x)) if float(x.detach().max()) > -1e9 else x
        return x


def test_a_network_that_cannot_be_traced_is_refused_where_that_matters(known):
    network = Untraceable()
    network(known.images)
    assert "if your module is being used" in refusal("deep_lift", network, known.images)
    assert "cannot trace" in refusal("guided_grad_cam", network, known.images)
    found = attribute("occlusion", ExplainedNetwork(network, known.images), known.images, known.labels, seed=0)
    assert found.abs().max() > 0


def test_grad_cam_needs_places_and_says_where_it_looks(cnn, transformer, known):
    assert (
        describe_layer("grad_cam", cnn) == "; looks at layer blocks.1.activation2, 8 x 8"
        and describe_layer("saliency", cnn) == ""
    )
    assert "no layer gives features with places" in refusal(
        "grad_cam", nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), known.images
    )
    assert "goes on with tokens" in refusal("grad_cam", transformer.original, known.images)


def test_rollout_needs_attention(cnn, known):
    assert "no attention maps" in refusal("attention_rollout", cnn.original, known.images)


def test_help_tells_every_method():
    text = function_parser(explain, "explain").format_help()
    assert [name for name in METHODS if name not in text] == []
