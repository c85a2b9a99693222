"""torchvision's networks for any image size, channels and labels, and pretrained weights from a file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

import leyden
from leyden import SupervisedModule, UserError
from leyden.models import TorchvisionNet
from leyden.models.checkpoint import load_checkpoint
from leyden.models.torchvision_stem import find_first_convolution

SMALL_NETWORKS = [
    "resnet18",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "densenet121",
    "vit_b_32",
    "squeezenet1_1",
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A state dict of torchvision's own network, with 7 labels."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(models.resnet18(weights=None, num_classes=7).state_dict(), path)
    return path


@pytest.mark.parametrize("name", SMALL_NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_stem_and_head_fit(name, channels):
    network = TorchvisionNet(channels, 5, (32, 32), name).eval()
    assert network(torch.randn(2, channels, 32, 32)).shape == (2, 5)


def resolution_after_stem(size):
    network, sizes = TorchvisionNet(1, 5, (size, size)).eval(), []
    network.body.layer1.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
    network(torch.randn(1, 1, size, size))
    return sizes[0]


def test_the_stem_keeps_the_resolution_of_small_images_only():
    assert [resolution_after_stem(size) for size in (8, 32, 63, 64, 96)] == [8, 32, 63, 16, 24]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v3_small"])
def test_attribution_methods_can_hook_every_activation(name):
    network, calls = TorchvisionNet(1, 2, (16, 16), name).eval(), []
    for layer in network.modules():
        assert not getattr(layer, "inplace", False)
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda layer, *_: calls.append(layer))
    network(torch.randn(1, 1, 16, 16))
    assert calls
    assert len(calls) == len(set(calls))


def copy_weights(weights, folder, change=None, suffix=".pth"):
    state = torch.load(weights, weights_only=True)
    if change:
        change(state)
    path = folder / f"changed{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_is_loaded_except_for_the_head(weights, tmp_path, suffix, caplog):
    path = copy_weights(weights, tmp_path, suffix=suffix)
    network, original = TorchvisionNet(3, 5, (64, 64), weights=path), models.resnet18(weights=None, num_classes=7)
    network.load_pretrained()
    original.load_state_dict(torch.load(weights, weights_only=True))
    original.fc = network.body.fc
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(network.eval()(images), original.eval()(images), atol=1e-5)
    assert caplog.messages == [f"fit: loaded {path} into resnet18: all tensors except fc.weight, fc.bias"]


def test_pretrained_logits_of_grey_images_are_those_of_the_same_images_in_rgb(weights):
    grey, colour = (TorchvisionNet(channels, 7, (64, 64), weights=str(weights)) for channels in (1, 3))
    for network in (grey, colour):
        network.load_pretrained()
    images = torch.randn(2, 1, 64, 64)
    assert torch.allclose(grey.eval()(images), colour.eval()(images.expand(-1, 3, -1, -1)), atol=1e-4)


def test_a_stem_with_a_different_kernel_is_not_loaded_and_a_head_of_the_same_size_is(weights, caplog):
    network = TorchvisionNet(3, 7, (32, 32), weights=str(weights))
    stem = network.body.conv1.weight.clone()
    network.load_pretrained()
    assert caplog.messages[0].endswith(": all tensors except conv1.weight")
    assert torch.equal(network.body.conv1.weight, stem)
    assert torch.equal(network.body.fc.weight, torch.load(weights, weights_only=True)["fc.weight"])


def test_position_embeddings_of_a_different_image_size_are_resized(tmp_path):
    options = {"num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8}
    original = models.VisionTransformer(image_size=64, patch_size=32, num_classes=5, **options)
    torch.save(original.state_dict(), tmp_path / "vit.pth")
    network = TorchvisionNet(3, 5, (96, 96), "vit_b_32", str(tmp_path / "vit.pth"))
    network.body = models.VisionTransformer(image_size=96, patch_size=32, num_classes=5, **options)
    network.load_pretrained()
    resized, expected = network.body.encoder.pos_embedding, original.encoder.pos_embedding
    assert resized.shape == (1, 10, 8)
    assert torch.equal(resized[:, 0], expected[:, 0])
    corners = resized[0, 1:].view(3, 3, 8)[::2, ::2].reshape(4, 8)
    assert torch.allclose(corners, expected[0, 1:], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layer1.0.conv1.weight"), r"changed.pth lacks layer1.0.conv1.weight \(1 such keys\)"),
        (lambda state: state.update({"other": torch.zeros(1)}), "also has other"),
        (lambda state: state.update({"bn1.weight": torch.zeros(3)}), r"does not fit \(size mismatch for bn1.weight"),
        (lambda state: state.update({"epoch": 3}), "holds something else"),
        (lambda state: state.clear(), "holds something else"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(weights, tmp_path, change, message):
    path = copy_weights(weights, tmp_path, change)
    with pytest.raises(UserError, match=message) as refused:
        TorchvisionNet(3, 5, (64, 64), weights=path).load_pretrained()
    assert "\n" not in str(refused.value)


def test_missing_damaged_and_code_running_files_are_refused(tmp_path):
    for name, content, message in (
        ("none.pth", None, "not found; correct network.init_args.weights"),
        ("text.pth", b"hello", "refused|cannot be read"),
        ("text.safetensors", b"hello there, no header", "cannot be read"),
    ):
        if content:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            TorchvisionNet(1, 5, (16, 16), weights=str(tmp_path / name)).load_pretrained()
    torch.save({"a": Path("x")}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="asks to run code"):
        TorchvisionNet(1, 5, (16, 16), weights=str(tmp_path / "code.pth")).load_pretrained()


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("resnet81", (32, 32), r"torchvision network; got 'resnet81' \(did you mean 'resnet18'\?\)"),
        ("nothing_alike", (32, 32), "expected the name of a torchvision network; got 'nothing_alike'"),
        ("convnext_tiny", (8, 8), "expected larger images for convnext_tiny; got 8x8"),
        ("vit_b_16", (40, 40), "a multiple of 16 pixels for vit_b_16; got 40x40"),
    ],
)
def test_unknown_names_and_unsuitable_sizes_are_refused(name, size, message):
    with pytest.raises(UserError, match=message):
        TorchvisionNet(3, 5, size, name)


def test_a_checkpoint_does_not_need_the_pretrained_file(weights, tmp_path):
    path = copy_weights(weights, tmp_path)
    spec = {"class_path": "leyden.models.TorchvisionNet", "init_args": {"weights": path}}
    grey = {"channels": 1, "image_size": [8, 8], "mean": [0.3], "std": [0.4]}
    trained, checkpoint = SupervisedModule(spec, ["a", "b"], grey), {}
    assert trained.input_files == [path]  # a different file means a different training
    pretrained = torch.load(path, weights_only=True)["layer1.0.conv1.weight"]
    assert torch.equal(trained.model.network.body.layer1.get_submodule("0").conv1.weight, pretrained)
    trained.on_save_checkpoint(checkpoint)
    torch.save({**checkpoint, "state_dict": trained.state_dict()}, tmp_path / "model.ckpt")
    Path(path).unlink()
    loaded = leyden.load(tmp_path / "model.ckpt")
    images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    assert torch.allclose(loaded(images), trained.eval()(images), atol=1e-5)
    assert load_checkpoint(tmp_path / "model.ckpt").channels == 1
    assert find_first_convolution(loaded.network.body)[1].in_channels == 1


def test_running_statistics_follow_the_weights_within_a_few_epochs_of_few_steps():
    """Otherwise a network that has learned the training images still predicts one class in evaluation."""
    network = TorchvisionNet(1, 5, (32, 32), "mobilenet_v3_large")
    assert {layer.momentum for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)} == {0.1}
