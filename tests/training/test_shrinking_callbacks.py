"""Callbacks that shrink: zeros stay zero, rounding is int8's, checkpoints load as always, and a killed training ends as another."""

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
from leyden.training.fake_quantization import FakeQuantization, round_values, round_weight
from leyden.training.sparsity import MagnitudePruning
from tests.conftest import REPO
from tests.training.test_interruption import differences, run_killed

KINDS = ("sparse", "qat")
SMALL = ("--network.init_args.width=8", "--trainer.precision=32-true")


@pytest.fixture
def workspace(trained, tmp_path, monkeypatch):
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "configs").symlink_to(REPO / "configs")
    (tmp_path / "artifacts/prepare").symlink_to(trained / "artifacts/prepare")
    (tmp_path / "given.ckpt").symlink_to(trained / "artifacts/train/model.ckpt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def overlay(kind):
    return [
        "-c",
        "configs/train.yaml",
        "-c",
        f"configs/experiment/{kind}.yaml",
        *SMALL,
        f"--model.start_from.path={Path.cwd()}/given.ckpt",
    ]


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.network.parameters() if parameter.ndim > 1])


def test_zeros_stay_zero_and_the_checkpoint_loads_as_always(workspace):
    assert main(["fit", *overlay("sparse"), "--trainer.max_epochs=2"]) == 0
    dense, sparse = (weights(leyden.load(path)) for path in ("given.ckpt", "artifacts/train/model.ckpt"))
    assert (sparse == 0).float().mean() == pytest.approx(0.8, abs=1e-4)
    assert torch.equal(sparse == 0, dense.abs() <= dense.abs().sort().values[round(0.8 * len(dense)) - 1])
    assert not torch.equal(sparse[sparse != 0], dense[sparse != 0])


def test_averaged_weights_that_would_keep_what_is_set_to_zero_are_refused():
    order = [EMAWeightAveraging(), MagnitudePruning()]
    with pytest.raises(UserError, match="expected MagnitudePruning before averaged weights"):
        order[1].setup(Trainer(callbacks=order, logger=False), None, "fit")
    order[1].setup(Trainer(callbacks=order[::-1], logger=False), None, "fit")


def test_ranges_follow_each_batch_once(workspace):
    """Also where activations are computed twice."""
    losses = []
    for twice in ("[]", "[leyden.models.resnet.ResidualBlock]"):
        assert (
            main(["fit", *overlay("qat"), "--trainer.max_epochs=1", f"--model.execution.checkpoint_modules={twice}"])
            == 0
        )
        losses.append(json.loads(Path("artifacts/train/metrics.json").read_text())["val/loss"])
    assert losses[0] == losses[1]


def test_masks_of_a_resumed_training_are_its_own():
    module = nn.Module()
    module.model = nn.Linear(4, 4, bias=False)
    first, second = MagnitudePruning(0.5), MagnitudePruning(0.5)
    first.on_train_start(None, module)
    second.load_state_dict(first.state_dict())
    module.model.weight.data = torch.randn(4, 4)
    second.on_train_batch_end(None, module, None, None, 0)
    second.on_train_start(None, module)
    assert torch.equal(module.model.weight == 0, ~first.masks["weight"])
    with pytest.raises(ValueError, match="expected a fraction"):
        MagnitudePruning(1.0)


def test_rounding_is_that_of_eight_bits():
    weight = torch.randn(3, 5, 2, 2) * torch.tensor([1.0, 10.0, 0.1])[:, None, None, None]
    steps = weight.abs().flatten(1).amax(1) / 127
    assert torch.allclose(
        round_weight(weight), (weight / steps[:, None, None, None]).round() * steps[:, None, None, None], atol=1e-6
    )
    scaled = torch.tensor([3.0, 0.2, 7.0])[:, None, None, None]  # as a folded batch norm scales
    assert torch.allclose(round_weight(weight * scaled), round_weight(weight) * scaled, rtol=1e-4)
    values = round_values(torch.linspace(-1, 3, 1001), torch.tensor([-0.5, 2.0]))
    assert len(values.unique()) == 256 and values.min() >= -0.51 and values.max() <= 2.01 and 0 in values
    values = torch.tensor([0.2, 5.0], requires_grad=True)
    round_values(values, torch.tensor([0.0, 1.0])).sum().backward()
    assert values.grad.tolist() == [1.0, 0.0]  # what is cut off learns nothing


def test_layers_round_what_they_read_until_the_training_ends():
    torch.manual_seed(0)
    network, quantization = (
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)),
        FakeQuantization(0.5),
    )
    images = torch.rand(8, 1, 4, 4)
    exact, names = network(images), set(network.state_dict())
    quantization.attach(network)
    first = network(images)
    assert 0 < (first - exact).abs().max() < 0.05 and set(network.state_dict()) == names
    assert torch.allclose(quantization.ranges["0"], torch.tensor([0.0, float(images.max())]))
    network(3 * images)
    assert quantization.ranges["0"][1] == pytest.approx(2 * float(images.max()))
    network.eval()(9 * images)
    assert quantization.ranges["0"][1] == pytest.approx(2 * float(images.max()))  # only training moves them
    network(images).sum().backward()
    assert network[0].weight.grad.abs().sum() > 0
    quantization.teardown(None, None, "fit")
    assert torch.equal(network(images), exact)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_ends_as_an_undisturbed_one(kind, workspace):
    moments, finals = [("step", 3), ("epoch_end", 1)], []
    folders = [workspace / name for name in ("killed", "whole")]
    for folder in folders:
        folder.mkdir()
        (folder / "configs").symlink_to(REPO / "configs")
    args = [
        *overlay(kind),
        f"--data.folder={workspace}/artifacts/prepare",
        "--trainer.max_epochs=2",
        "--resume.every_steps=1",
    ]
    assert run_killed(moments, args, *folders) == [-signal.SIGKILL] * len(moments) + [0]
    for folder in folders:
        state = torch.load(next((folder / "runs").glob("*/last.ckpt")), weights_only=True)
        finals.append({key: state[key] for key in ("state_dict", "optimizer_states", "global_step")})
        finals[-1]["callbacks"] = {
            key: value for key, value in state["callbacks"].items() if key in ("MagnitudePruning", "FakeQuantization")
        }
    assert finals[0]["callbacks"] and differences(*finals) == []
