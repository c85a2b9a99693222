"""Magnitude pruning and fake quantization: their effect on weights, ordinary checkpoints, and exact resumption."""

import json
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn

import leyden
from leyden.cli import main
from leyden.errors import UserError
from leyden.training.fake_quantization import FakeQuantization, quantize_inputs, quantize_weight
from leyden.training.sparsity import MagnitudePruning
from tests.conftest import borrow_prepared
from tests.training.test_interruption import differences, run_killed

KINDS = ("sparse", "qat")
SMALL = ("--network.init_args.width=8", "--trainer.precision=32-true")


@pytest.fixture
def workspace(workspace, trained):
    (workspace / "given.ckpt").symlink_to(trained / "artifacts/train/model.ckpt")
    return workspace


def overlay(kind):
    configs = ["-c", "configs/train.yaml", "-c", f"configs/experiment/{kind}.yaml"]
    return [*configs, *SMALL, f"--model.start_from.path={Path.cwd()}/given.ckpt"]


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.network.parameters() if parameter.ndim > 1])


def test_the_smallest_weights_become_zero_and_the_others_train(workspace):
    assert main(["fit", *overlay("sparse"), "--trainer.max_epochs=2"]) == 0
    dense, sparse = (weights(leyden.load(path)) for path in ("given.ckpt", "artifacts/train/model.ckpt"))
    assert (sparse == 0).float().mean() == pytest.approx(0.8, abs=1e-4)
    assert torch.equal(sparse == 0, dense.abs() <= dense.abs().sort().values[round(0.8 * len(dense)) - 1])
    assert not torch.equal(sparse[sparse != 0], dense[sparse != 0])


def test_averaged_weights_that_would_keep_pruned_weights_are_refused():
    order = [EMAWeightAveraging(), MagnitudePruning()]
    with pytest.raises(UserError, match="expected MagnitudePruning before averaged weights"):
        order[1].setup(Trainer(callbacks=order, logger=False), None, "fit")
    order[1].setup(Trainer(callbacks=order[::-1], logger=False), None, "fit")


def test_recomputed_activations_do_not_update_ranges_again(workspace):
    losses = []
    for modules in ("[]", "[leyden.models.resnet.ResidualBlock]"):
        options = ["--trainer.max_epochs=1", f"--model.execution.checkpoint_modules={modules}"]
        assert main(["fit", *overlay("qat"), *options]) == 0
        losses.append(json.loads(Path("artifacts/train/metrics.json").read_text())["val/loss"])
    assert losses[0] == losses[1]


def test_a_resumed_training_keeps_its_masks():
    module = nn.Module()
    module.model = nn.Linear(4, 4, bias=False)
    first, second = MagnitudePruning(0.5), MagnitudePruning(0.5)
    first.on_train_start(None, module)
    second.load_state_dict(first.state_dict())
    module.model.weight.data = torch.randn(4, 4)
    second.on_train_batch_end(None, module, None, None, 0)
    second.on_train_start(None, module)
    assert torch.equal(module.model.weight == 0, ~first.masks["weight"])


def test_a_fraction_out_of_range_is_refused():
    with pytest.raises(ValueError, match="expected a fraction"):
        MagnitudePruning(1.0)


def test_weights_are_rounded_to_eight_bits_per_channel():
    weight = torch.randn(3, 5, 2, 2) * torch.tensor([1.0, 10.0, 0.1])[:, None, None, None]
    steps = weight.abs().flatten(1).amax(1) / 127
    steps = steps[:, None, None, None]
    assert torch.allclose(quantize_weight(weight), (weight / steps).round() * steps, atol=1e-6)
    scale = torch.tensor([3.0, 0.2, 7.0])[:, None, None, None]  # of a folded batch norm
    assert torch.allclose(quantize_weight(weight * scale), quantize_weight(weight) * scale, rtol=1e-4)


def test_inputs_are_rounded_to_eight_bits_between_limits():
    values = quantize_inputs(torch.linspace(-1, 3, 1001), torch.tensor([-0.5, 2.0]))
    assert len(values.unique()) == 256
    assert values.min() >= -0.51
    assert values.max() <= 2.01
    assert 0 in values
    values = torch.tensor([0.2, 5.0], requires_grad=True)
    quantize_inputs(values, torch.tensor([0.0, 1.0])).sum().backward()
    assert values.grad.tolist() == [1.0, 0.0]  # clipped values have no gradient


def test_layers_round_their_inputs_until_the_training_ends():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    quantization = FakeQuantization(0.5)
    images = torch.rand(8, 1, 4, 4)
    exact, names = network(images), set(network.state_dict())
    quantization.attach(network)
    rounded = network(images)
    assert 0 < (rounded - exact).abs().max() < 0.05
    assert set(network.state_dict()) == names
    assert torch.allclose(quantization.ranges["0"], torch.tensor([0.0, float(images.max())]))
    network(3 * images)
    assert quantization.ranges["0"][1] == pytest.approx(2 * float(images.max()))
    network.eval()(9 * images)
    assert quantization.ranges["0"][1] == pytest.approx(2 * float(images.max()))  # evaluation does not update them
    network(images).sum().backward()
    assert network[0].weight.grad.abs().sum() > 0
    quantization.teardown(None, None, "fit")
    assert torch.equal(network(images), exact)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_ends_like_an_uninterrupted_one(kind, trained, workspace):
    kills, finals = [("step", 3), ("epoch_end", 1)], []
    folders = [borrow_prepared(trained, workspace / name) for name in ("killed", "whole")]
    args = [*overlay(kind), "--trainer.max_epochs=2", "--resume.every_steps=1"]
    assert run_killed(kills, args, *folders) == [-signal.SIGKILL] * len(kills) + [0]
    for folder in folders:
        state = torch.load(next((folder / "runs").glob("*/last.ckpt")), weights_only=True)
        finals.append({key: state[key] for key in ("state_dict", "optimizer_states", "global_step")})
        finals[-1]["callbacks"] = {
            key: value for key, value in state["callbacks"].items() if key in ("MagnitudePruning", "FakeQuantization")
        }
    assert finals[0]["callbacks"]
    assert differences(*finals) == []
