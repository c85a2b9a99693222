"""Channels leave from all layers that share them, the strongest stay, and what remains is a checkpoint like any other."""

from pathlib import Path

import pytest
import torch
from torch import nn

import leyden
from leyden import UserError
from leyden.cli import main
from leyden.models.channel_pruning import narrow_network, select_channels, trace_channels
from leyden.models.image_model import build_network
from tests.conftest import REPO

RESNET = {"class_path": "leyden.models.ResNet", "init_args": {"width": 8, "depths": [2, 1]}}
NETWORKS = {
    "resnet": (RESNET, (8, 8), 0.3),
    "early_exit": ({"class_path": "leyden.models.EarlyExitNet", "init_args": {"width": 8}}, (8, 8), 0.3),
    "transformer": (
        {"class_path": "leyden.models.PatchTransformer", "init_args": {"width": 16, "depth": 1}},
        (8, 8),
        0.9,
    ),
    **{
        name: ({"class_path": "leyden.models.TorchvisionNet", "init_args": {"name": name}}, (32, 32), share)
        for name, share in (("resnet18", 0.26), ("mobilenet_v3_small", 0.3))
    },
}


def build(spec, size):
    torch.manual_seed(0)
    return build_network(spec, {"num_classes": 3, "in_channels": 1, "image_size": size})[0]


def silence_half(network: nn.Module) -> None:
    """Set every second channel of each group to zero wherever it is: what remains must compute the same without it."""
    state = network.state_dict()
    for group in trace_channels(network):
        for name, dim in group.places:
            if not name.endswith(("running_mean", "running_var")):
                by_channel = state[name].movedim(dim, 0).unflatten(0, (group.size, -1))
                by_channel[1::2] = 0


def vary_norms(network: nn.Module, images: torch.Tensor) -> None:
    """Give batch norms the images' statistics, and weights and biases that matter."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.uniform_(-0.5, 0.5)
    with torch.no_grad():
        network.train()(images)
        network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_that_do_nothing_leave_without_a_trace(name):
    spec, size, share = NETWORKS[name]
    wide, narrow = build(spec, size).eval(), narrow_network(spec, 3, 1, size, keep_fraction=0.5).eval()
    vary_norms(wide, torch.randn(32, 1, *size))
    silence_half(wide)
    narrow.load_state_dict(select_channels(wide, narrow.state_dict()))
    images = torch.randn(4, 1, *size)
    with torch.no_grad():
        logits = wide(images)
        assert (narrow(images) - logits).abs().max() < 0.01 * logits.std(dim=0).min()
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in (narrow, wide)]
    assert sizes[0] < share * sizes[1]
    assert narrow.training is False and str(narrow) != str(wide)


def test_a_residual_sum_ties_its_channels():
    groups = trace_channels(build(RESNET, (8, 8)))
    tied = next(group for group in groups if ("stem.0.weight", 0) in group.places)
    assert {("blocks.0.conv2.0.weight", 0), ("blocks.1.conv1.0.weight", 1), ("blocks.2.shortcut.0.weight", 1)} < set(
        tied.places
    )
    assert ("blocks.0.conv1.0.weight", 0) not in tied.places
    assert not any(place in group.places for group in groups for place in [("stem.0.weight", 1), ("head.weight", 0)])


def test_flattened_pixels_leave_with_their_channel():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    small = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 2))
    silence_half(network)
    small.load_state_dict(select_channels(network, small.state_dict()))
    images = torch.randn(2, 1, 8, 8)
    assert torch.allclose(small(images), network(images), atol=1e-5)


class Turning(nn.Module):
    """Something unknown happens to the channels of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return self.third(self.second(self.first(images).transpose(1, 2).transpose(1, 2)))


class Deciding(nn.Module):
    def forward(self, images):
        return images if images.sum() > 0 else -images


def test_what_cannot_be_followed_is_left_or_refused():
    assert [set(group.places) for group in trace_channels(Turning())] == [
        {("second.weight", 0), ("second.bias", 0), ("third.weight", 1)}
    ]
    with pytest.raises(UserError, match="Deciding cannot be"):
        trace_channels(Deciding())
    with pytest.raises(UserError, match="Sequential has none"):
        trace_channels(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UserError, match=r"keep_fraction in \(0, 1\]; got 0"):
        narrow_network(RESNET, 3, 1, (8, 8), keep_fraction=0)
    with pytest.raises(UserError, match=r"of the wide network; got class_path, init_args, init_args\.width"):
        narrow_network({**RESNET, "init_args.width": 4}, 3, 1, (8, 8))
    with pytest.raises(UserError, match="takes RGB only"):
        narrow_network({"class_path": "torchvision.models.resnet18"}, 3, 1, (32, 32))


def test_a_pruned_network_is_trained_and_loads_by_itself(trained, tmp_path, monkeypatch, caplog):
    (tmp_path / "configs").symlink_to(REPO / "configs")
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/prepare").symlink_to(trained / "artifacts/prepare")
    (tmp_path / "wide.ckpt").write_bytes((trained / "artifacts/train/model.ckpt").read_bytes())
    monkeypatch.chdir(tmp_path)
    args = ["fit", "-c", "configs/train.yaml", "-c", "configs/experiment/prune.yaml", "--trainer.max_epochs=1"]
    network = '--network.init_args.network={"class_path": "leyden.models.ResNet", "init_args": {"width": 8}}'
    assert main([*args, network]) == 0
    assert "took 56 of 56 tensors from wide.ckpt" in caplog.text
    Path("wide.ckpt").unlink()
    wide, model = (leyden.load(folder / "artifacts/train/model.ckpt") for folder in (trained, tmp_path))
    assert model.network.stem[0].weight.shape[0] == 4 and wide.network.stem[0].weight.shape[0] == 8
    assert model(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 10)
    # The same road for a student of fewer channels that is built by its own arguments.
    start = [
        "--network.init_args.width=3",
        "--model.start_from.path=student.ckpt",
        "--model.start_from.mode=prune",
        "--trainer.fast_dev_run=1",
    ]
    Path("student.ckpt").write_bytes((trained / "artifacts/train/model.ckpt").read_bytes())
    assert main(["fit", "-c", "configs/train.yaml", *start]) == 0
    assert "took 56 of 56 tensors from student.ckpt" in caplog.text
