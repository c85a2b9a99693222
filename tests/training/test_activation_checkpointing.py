"""A checkpointed network is the same network: weights' names, gradients, statistics and dropout; it only stores less."""

import copy

import pytest
import torch
from torch import nn

from leyden import Classifier, UserError
from leyden.models import ResNet, TorchvisionNet
from leyden.training.activation_checkpointing import checkpoint_modules
from leyden.training.execution import Execution

BLOCK = "leyden.models.resnet.ResidualBlock"


def step(network, images, seed=0):
    """Train one step; give the gradients."""
    torch.manual_seed(seed)
    network(images).square().sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def pair(network, class_paths):
    other = copy.deepcopy(network)
    checkpoint_modules(other, class_paths)
    return network, other


@pytest.mark.parametrize("in_training", [True, False])
def test_gradients_names_and_statistics_stay_the_same(in_training):
    torch.manual_seed(0)
    plain, saving = pair(ResNet(1, 3, (8, 8), 8, (2, 1)).train(in_training), [BLOCK])
    images = torch.randn(6, 1, 8, 8)
    expected, found = step(plain, images), step(saving, images)
    assert list(expected) == list(found) and all(torch.equal(expected[name], found[name]) for name in expected)
    one, other = plain.state_dict(), saving.state_dict()
    assert list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)
    assert int(one["stem.1.num_batches_tracked"]) == int(in_training)


def test_it_computes_twice_and_stores_less():
    plain, saving = pair(ResNet(1, 3, (8, 8), 8, (2, 1)), [BLOCK])
    images, calls, kept = torch.randn(6, 1, 8, 8), [], []
    for network in (plain, saving):
        calls.append(0)
        network.blocks[0].conv1.register_forward_hook(
            lambda *_, number=len(calls) - 1: calls.__setitem__(number, calls[number] + 1)
        )
        storages: dict[int, int] = {}
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t, to=storages: to.update({t.data_ptr(): t.nbytes}) or t, lambda t: t
        )
        with hooks:
            out = network(images)
        out.sum().backward()
        kept.append(sum(storages.values()))
    assert calls == [1, 2] and kept[1] < 0.7 * kept[0]


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.part(x)


def test_dropout_draws_the_same_mask_again():
    plain, saving = pair(Noisy(), ["torch.nn.Sequential"])
    images = torch.randn(4, 16)
    expected, found = step(plain, images, seed=3), step(saving, images, seed=3)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_copies_and_shared_classes():
    _, saving = pair(ResNet(1, 3, (8, 8), 4, (1, 1)), [BLOCK])
    copied = copy.deepcopy(saving)
    copied.blocks[0].conv1[0].weight.data.zero_()
    assert torch.isfinite(copied(torch.randn(2, 1, 8, 8))).all()
    images = torch.randn(2, 1, 8, 8)
    assert not torch.equal(copied.eval()(images), saving.eval()(images))


def test_a_torchvision_network_by_its_blocks():
    torch.manual_seed(0)
    plain, saving = pair(
        TorchvisionNet(1, 3, (8, 8), "mobilenet_v3_small"), ["torchvision.models.mobilenetv3.InvertedResidual"]
    )
    expected, found = step(plain, torch.ones(4, 1, 8, 8)), step(saving, torch.ones(4, 1, 8, 8))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("leyden.models.resnet.ResidualBlok", "cannot be imported"),
        ("ResidualBlock", "cannot be imported"),
        ("torch.nn.LSTM", r"got torch\.nn\.LSTM; it has .*leyden\.models\.resnet\.ResidualBlock"),
        ("torch.nn.functional.relu", "expected classes of the network's parts"),
    ],
)
def test_a_class_that_the_network_has_no_part_of_is_refused(path, message):
    with pytest.raises(UserError, match=message):
        checkpoint_modules(ResNet(1, 3, (8, 8), 4), [path])


def test_the_classifier_is_told_by_config_and_its_checkpoint_fits_a_plain_one():
    spec, grey = (
        {"class_path": "leyden.models.ResNet", "init_args": {"width": 4}},
        {"channels": 1, "image_size": [8, 8], "mean": [0.3], "std": [0.4]},
    )
    saving, plain = (
        Classifier(spec, ["a", "b"], grey, execution=Execution(checkpoint_modules=[BLOCK])),
        Classifier(spec, ["a", "b"], grey),
    )
    plain.load_state_dict(saving.state_dict())
    batch = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.tensor([0, 1] * 4)
    assert torch.equal(saving.training_step(batch, 0), plain.training_step(batch, 0))
    assert "forward" in vars(saving.model.network.blocks[0]) and "forward" not in vars(plain.model.network.blocks[0])
