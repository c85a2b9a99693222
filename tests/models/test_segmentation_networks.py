"""Networks for segmentation are built for any image, trained and exported like other networks."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leyden.models.build import build_model, rebuild_model
from leyden.models.channel_pruning import narrow_network
from leyden.trust.offline import offline
from tests.models.test_control_flow import convert_to_onnx, export

TORCHVISION = "torchvision.models.segmentation."
SPECS = {
    "unet": {"class_path": "leyden.models.UNet", "init_args": {"width": 4}},
    "lraspp": {"class_path": TORCHVISION + "lraspp_mobilenet_v3_large"},
    "deeplab": {"class_path": TORCHVISION + "deeplabv3_mobilenet_v3_large", "init_args": {"aux_loss": True}},
    "by_name": {"class_path": "leyden.models.TorchvisionNet", "init_args": {"name": "lraspp_mobilenet_v3_large"}},
}
each_network = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
LABELS = ["ground", "road", "roof"]


def describe_input(channels, size):
    return {"channels": channels, "image_size": list(size), "mean": [0.3] * channels, "std": [0.4] * channels}


def make_images(count, channels, size):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, *size), dtype=torch.uint8, generator=generator)


def make_model(spec, channels=3, size=(21, 33)):
    """Build a model with the batch norms of a training: without them, the images hardly change the logits."""
    torch.manual_seed(0)
    model = build_model(copy.deepcopy(spec), LABELS, describe_input(channels, size))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        model.network(model.preprocess(make_images(8, channels, size)))
    return model.eval()


@each_network
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_logits_are_one_tensor_of_the_size_of_the_images(spec, channels):
    model = make_model(spec, channels)
    assert model(make_images(2, channels, (21, 33))).shape == (2, 3, 21, 33)


@each_network
def test_the_gradient_reaches_every_parameter(spec):
    model = make_model(spec).train()
    outputs = model.network(model.preprocess(make_images(4, 3, (21, 33))))
    masks = torch.randint(0, 3, (4, 21, 33))
    sum(F.cross_entropy(each, masks) for each in (outputs if isinstance(outputs, tuple) else [outputs])).backward()
    assert [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()] == []


@pytest.mark.parametrize(
    ("spec", "size"), [(SPECS["unet"], (21, 33)), (SPECS["unet"], (32, 32)), (SPECS["deeplab"], (21, 33))]
)
def test_programs_and_onnx_files_of_any_batch_size_compute_the_same(spec, size):
    model = make_model(spec, 1, size)
    program = export(model, make_images(2, 1, size))
    session = convert_to_onnx(program)[1]
    for count in (1, 5):
        images = make_images(count, 1, size)
        expected = model(images)
        assert expected.std(dim=(0, 2, 3)).min() > 0.01
        assert torch.allclose(program.module()(images), expected, atol=1e-5)
        (outputs,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        assert torch.allclose(torch.from_numpy(outputs), expected, atol=1e-4)


@each_network
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:'aux_classifier' was found in ScriptModule constants:UserWarning")  # torchvision's
def test_a_script_computes_the_same(spec):
    network, images = make_model(spec).network, torch.randn(2, 3, 21, 33)
    assert torch.allclose(torch.jit.script(network)(images), network(images), atol=1e-5)


@each_network
def test_a_model_is_rebuilt_from_its_description_and_weights_without_a_download(spec):
    model = make_model(spec, channels=1)
    if "segmentation" in spec["class_path"]:  # as if the training had started from pretrained weights
        model.spec["network"].setdefault("init_args", {})["weights_backbone"] = "DEFAULT"
    rebuilt = rebuild_model(model.spec, model.state_dict(), Path("model.ckpt"))
    images = make_images(2, 1, (21, 33))
    assert torch.equal(rebuilt(images), model(images))


@each_network
def test_a_network_with_half_the_channels_labels_each_pixel(spec):
    narrow, wide = (narrow_network(spec, 3, 3, (32, 32), fraction) for fraction in (0.5, 1.0))
    assert narrow.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 3, 32, 32)
    sizes = [sum(each.numel() for each in network.parameters()) for network in (narrow, wide)]
    assert sizes[0] < 0.8 * sizes[1]


def test_pretrained_weights_are_downloaded_only_if_asked_for(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    spec = {"class_path": TORCHVISION + "lraspp_mobilenet_v3_large", "init_args": {}}
    with offline() as attempted:
        make_model(spec)
        assert attempted == []
        with pytest.raises(Exception, match="nothing is downloaded"):
            make_model({**spec, "init_args": {"weights_backbone": "DEFAULT"}})
    assert attempted == ["download.pytorch.org"]
