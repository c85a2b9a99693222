"""A checkpointed network computes the same gradients and statistics as a plain one, and stores fewer activations."""

import copy

import pytest
import torch
from torch import nn

from leyden import SupervisedModule, UserError
from leyden.models import ResNet, TorchvisionNet
from leyden.training.activation_checkpointing import checkpoint_modules
from leyden.training.execution import Execution
from tests.training.test_supervised_module import GREY

BLOCK = "leyden.models.resnet.ResidualBlock"


def compute_gradients(network, images, seed=0):
    torch.manual_seed(seed)
    network(images).square().sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def with_checkpointed_copy(network, class_paths):
    checkpointed = copy.deepcopy(network)
    checkpoint_modules(checkpointed, class_paths)
    return network, checkpointed


def assert_equal(tensors, expected):
    assert list(tensors) == list(expected)
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_names_and_statistics_stay_the_same(training):
    torch.manual_seed(0)
    plain, checkpointed = with_checkpointed_copy(ResNet(1, 3, (8, 8), 8, (2, 1)).train(training), [BLOCK])
    images = torch.randn(6, 1, 8, 8)
    expected = compute_gradients(plain, images)
    assert_equal(compute_gradients(checkpointed, images), expected)
    assert_equal(checkpointed.state_dict(), plain.state_dict())
    assert int(plain.state_dict()["stem.1.num_batches_tracked"]) == int(training)


def test_it_computes_twice_and_stores_less():
    networks = with_checkpointed_copy(ResNet(1, 3, (8, 8), 8, (2, 1)), [BLOCK])
    images, num_calls, stored_bytes = torch.randn(6, 1, 8, 8), [], []
    for network in networks:
        calls, storages = [], {}
        network.blocks[0].conv1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t, storages=storages: storages.update({t.data_ptr(): t.nbytes}) or t, lambda t: t
        )
        with hooks:
            out = network(images)
        out.sum().backward()
        num_calls.append(len(calls))
        stored_bytes.append(sum(storages.values()))
    assert num_calls == [1, 2]
    assert stored_bytes[1] < 0.7 * stored_bytes[0]


class DropoutNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_recomputed_dropout_draws_the_same_mask():
    plain, checkpointed = with_checkpointed_copy(DropoutNet(), ["torch.nn.Sequential"])
    inputs = torch.randn(4, 16)
    expected = compute_gradients(plain, inputs, seed=3)
    assert_equal(compute_gradients(checkpointed, inputs, seed=3), expected)


def test_copies_have_their_own_weights():
    _, checkpointed = with_checkpointed_copy(ResNet(1, 3, (8, 8), 4, (1, 1)), [BLOCK])
    copied = copy.deepcopy(checkpointed)
    copied.blocks[0].conv1[0].weight.data.zero_()
    assert torch.isfinite(copied(torch.randn(2, 1, 8, 8))).all()
    images = torch.randn(2, 1, 8, 8)
    assert not torch.equal(copied.eval()(images), checkpointed.eval()(images))


def test_a_torchvision_network_by_its_blocks():
    torch.manual_seed(0)
    network = TorchvisionNet(1, 3, (8, 8), "mobilenet_v3_small")
    plain, checkpointed = with_checkpointed_copy(network, ["torchvision.models.mobilenetv3.InvertedResidual"])
    expected = compute_gradients(plain, torch.ones(4, 1, 8, 8))
    assert_equal(compute_gradients(checkpointed, torch.ones(4, 1, 8, 8)), expected)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("leyden.models.resnet.ResidualBlok", "cannot be imported"),
        ("ResidualBlock", "cannot be imported"),
        ("torch.nn.LSTM", r"got torch\.nn\.LSTM; use one of .*leyden\.models\.resnet\.ResidualBlock"),
        ("torch.nn.functional.relu", "expected classes of the network's modules"),
    ],
)
def test_a_class_without_modules_in_the_network_is_refused(path, message):
    with pytest.raises(UserError, match=message):
        checkpoint_modules(ResNet(1, 3, (8, 8), 4), [path])


def test_the_classifier_checkpoints_modules_and_its_weights_fit_a_plain_one():
    network = {"class_path": "leyden.models.ResNet", "init_args": {"width": 4}}
    checkpointed = SupervisedModule(network, ["a", "b"], GREY, execution=Execution(checkpoint_modules=[BLOCK]))
    plain = SupervisedModule(network, ["a", "b"], GREY)
    plain.load_state_dict(checkpointed.state_dict())
    batch = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.tensor([0, 1] * 4)
    assert torch.equal(checkpointed.training_step(batch, 0), plain.training_step(batch, 0))
    assert "forward" in vars(checkpointed.model.network.blocks[0])
    assert "forward" not in vars(plain.model.network.blocks[0])
