"""Pruning removes channels from all layers that share them, and writes an ordinary checkpoint."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import leyden
from leyden import UserError
from leyden.cli import main
from leyden.models.channel_pruning import narrow_network, select_channels, trace_channels
from leyden.models.network_spec import build_network

RESNET = {"class_path": "leyden.models.ResNet", "init_args": {"width": 8, "depths": [2, 1]}}
NETWORKS = {  # specification, image size, largest fraction of the parameters when half of the channels are kept
    "resnet": (RESNET, (8, 8), 0.3),
    "early_exit": ({"class_path": "leyden.models.EarlyExitNet", "init_args": {"width": 8}}, (8, 8), 0.3),
    "transformer": (
        {"class_path": "leyden.models.PatchTransformer", "init_args": {"width": 16, "depth": 1}},
        (8, 8),
        0.9,
    ),
    **{
        name: ({"class_path": "leyden.models.TorchvisionNet", "init_args": {"name": name}}, (32, 32), max_fraction)
        for name, max_fraction in (("resnet18", 0.26), ("mobilenet_v3_small", 0.3))
    },
}


def build(spec, size):
    torch.manual_seed(0)
    return build_network(spec, {"num_classes": 3, "in_channels": 1, "image_size": size})[0]


def zero_every_second_channel(network: nn.Module) -> None:
    """Set every second channel of each group to zero in all tensors: the network computes the same without it."""
    state = network.state_dict()
    for group in trace_channels(network):
        for name, dim in group.dims:
            if not name.endswith(("running_mean", "running_var")):
                by_channel = state[name].movedim(dim, 0).unflatten(0, (group.size, -1))
                by_channel[1::2] = 0


def vary_norms(network: nn.Module, images: torch.Tensor) -> None:
    """Set batch norms to the images' statistics, and to random weights and biases."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.uniform_(-0.5, 0.5)
    with torch.no_grad():
        network.train()(images)
        network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_removing_zero_channels_keeps_the_logits(name):
    spec, size, max_fraction = NETWORKS[name]
    wide, narrow = build(spec, size).eval(), narrow_network(spec, 3, 1, size, keep_fraction=0.5).eval()
    vary_norms(wide, torch.randn(32, 1, *size))
    zero_every_second_channel(wide)
    narrow.load_state_dict(select_channels(wide, narrow.state_dict()))
    images = torch.randn(4, 1, *size)
    with torch.no_grad():
        logits = wide(images)
        assert (narrow(images) - logits).abs().max() < 0.01 * logits.std(dim=0).min()
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in (narrow, wide)]
    assert sizes[0] < max_fraction * sizes[1]
    assert narrow.training is False
    assert str(narrow) != str(wide)  # layers show their new sizes


def test_layers_around_a_residual_sum_share_a_group():
    groups = trace_channels(build(RESNET, (8, 8)))
    shared = next(set(group.dims) for group in groups if ("stem.0.weight", 0) in group.dims)
    assert {("blocks.0.conv2.0.weight", 0), ("blocks.1.conv1.0.weight", 1)} < shared
    assert ("blocks.2.shortcut.0.weight", 1) in shared
    assert ("blocks.0.conv1.0.weight", 0) not in shared
    all_dims = {dim for group in groups for dim in group.dims}
    assert ("stem.0.weight", 1) not in all_dims  # the images' channels
    assert ("head.weight", 0) not in all_dims  # the logits


def test_flattened_pixels_are_removed_with_their_channel():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    small = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 2))
    zero_every_second_channel(network)
    small.load_state_dict(select_channels(network, small.state_dict()))
    images = torch.randn(2, 1, 8, 8)
    assert torch.allclose(small(images), network(images), atol=1e-5)


class TransposingNet(nn.Module):
    """Passes the channels of its first convolution through operations that may mix them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return self.third(self.second(self.first(images).transpose(1, 2).transpose(1, 2)))


class BranchingNet(nn.Module):
    def forward(self, images):
        return images if images.sum() > 0 else -images


def test_channels_that_enter_unknown_operations_are_kept():
    (group,) = trace_channels(TransposingNet())
    assert set(group.dims) == {("second.weight", 0), ("second.bias", 0), ("third.weight", 1)}


def test_networks_that_cannot_be_pruned_are_refused():
    with pytest.raises(UserError, match="BranchingNet cannot be traced"):
        trace_channels(BranchingNet())
    with pytest.raises(UserError, match="Sequential has none"):
        trace_channels(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UserError, match=r"keep_fraction in \(0, 1\]; got 0"):
        narrow_network(RESNET, 3, 1, (8, 8), keep_fraction=0)
    with pytest.raises(UserError, match=r"of the wide network; got class_path, init_args, init_args\.width"):
        narrow_network({**RESNET, "init_args.width": 4}, 3, 1, (8, 8))
    with pytest.raises(UserError, match="accepts RGB only"):
        narrow_network({"class_path": "torchvision.models.resnet18"}, 3, 1, (32, 32))


def test_a_pruned_network_trains_and_its_checkpoint_needs_no_other_file(trained, workspace, caplog):
    for copy in ("wide.ckpt", "student.ckpt"):
        shutil.copy(trained / "artifacts/train/model.ckpt", copy)
    args = ["fit", "-c", "configs/train.yaml", "-c", "configs/experiment/prune.yaml", "--trainer.max_epochs=1"]
    network = '--network.init_args.network={"class_path": "leyden.models.ResNet", "init_args": {"width": 8}}'
    assert main([*args, network]) == 0
    assert "inherits 56 of 56 tensors of wide.ckpt" in caplog.text
    Path("wide.ckpt").unlink()
    wide, model = (leyden.load(folder / "artifacts/train/model.ckpt") for folder in (trained, workspace))
    assert model.network.stem[0].weight.shape[0] == 4
    assert wide.network.stem[0].weight.shape[0] == 8
    assert model(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 10)
    # A network with fewer channels by its own arguments can start from the wide one, too.
    start = [
        "--network.init_args.width=3",
        "--model.start_from.path=student.ckpt",
        "--model.start_from.mode=prune",
        "--trainer.fast_dev_run=1",
    ]
    assert main(["fit", "-c", "configs/train.yaml", *start]) == 0
    assert "inherits 56 of 56 tensors of student.ckpt" in caplog.text
