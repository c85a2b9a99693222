"""torchvision's segmentation networks: their heads, channels, stems, and pretrained weights from a file."""

import pytest
import torch
from torchvision.models import segmentation

from leyden.errors import UserError
from leyden.models import TorchvisionNet
from leyden.models.network_spec import build_network
from leyden.models.torchvision_segmentation import NAMES, adapt_segmentation

DEEPLAB = "deeplabv3_mobilenet_v3_large"


def build(name, in_channels=3, **init_args):
    torch.manual_seed(0)
    spec = {"class_path": f"torchvision.models.segmentation.{name}", "init_args": init_args}
    return build_network(spec, {"num_classes": 3, "in_channels": in_channels, "image_size": (32, 32)})


def build_original(name, **options):
    torch.manual_seed(0)
    return getattr(segmentation, name)(weights_backbone=None, num_classes=3, **options).eval()


def test_the_names_are_those_of_torchvision():
    assert {"fcn_resnet50", "deeplabv3_resnet101", DEEPLAB, "lraspp_mobilenet_v3_large"} <= set(NAMES)


def test_logits_are_those_of_torchvision():
    images = torch.randn(2, 3, 40, 40)
    assert torch.equal(build("fcn_resnet50")[0].eval()(images), build_original("fcn_resnet50")(images)["out"])


def test_weights_have_the_names_of_torchvision_behind_body():
    names = {f"body.{name}" for name in build_original(DEEPLAB).state_dict()}
    assert build(DEEPLAB)[0].state_dict().keys() == names


def test_an_auxiliary_head_returns_logits_in_training_alone():
    network, images = build(DEEPLAB, aux_loss=True)[0], torch.randn(2, 3, 40, 40)
    logits, auxiliary = network(images)
    assert logits.shape == auxiliary.shape == (2, 3, 40, 40)
    assert not torch.allclose(logits, auxiliary)
    assert isinstance(network.eval()(images), torch.Tensor)


def test_the_auxiliary_head_of_pretrained_weights_is_left_out_as_when_rebuilt_without_them():
    pretrained = adapt_segmentation(build_original(DEEPLAB, aux_loss=True), 3, {"weights": "DEFAULT"})
    assert pretrained is not None
    assert pretrained.state_dict().keys() == build(DEEPLAB)[0].state_dict().keys()
    assert isinstance(pretrained.train()(torch.randn(2, 3, 40, 40)), torch.Tensor)


def test_features_of_grey_images_are_those_of_the_same_images_in_rgb():
    (grey, accepted), (colour, _) = build(DEEPLAB, in_channels=1), build(DEEPLAB)
    assert accepted == {"num_classes", "in_channels"}
    images = torch.randn(2, 1, 40, 40)
    features, expected = grey.body.backbone["0"][0](images), colour.body.backbone["0"][0](images.expand(-1, 3, -1, -1))
    assert torch.allclose(features, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer", "resolutions"),
    [("fcn_resnet50", "layer1", [32, 16]), ("lraspp_mobilenet_v3_large", "1", [32, 32])],
)
def test_by_name_the_stem_keeps_the_resolution_of_small_images_only(name, layer, resolutions):
    sizes = []
    for side in (32, 64):
        network = TorchvisionNet(3, 2, (side, side), name).eval()
        first_stage = network.body.body.backbone[layer]
        first_stage.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
        network(torch.randn(1, 3, side, side))
    assert sizes == resolutions


@pytest.mark.parametrize("name", [DEEPLAB, "lraspp_mobilenet_v3_large"])
def test_a_state_dict_is_loaded_except_for_the_heads(name, tmp_path, caplog):
    options = {"aux_loss": True} if name == DEEPLAB else {}
    original = getattr(segmentation, name)(weights_backbone=None, num_classes=21, **options)
    torch.save(original.state_dict(), tmp_path / "coco.pth")
    network = TorchvisionNet(3, 5, (64, 64), name, str(tmp_path / "coco.pth"))
    network.load_pretrained()
    heads = {
        DEEPLAB: "classifier.4.weight, classifier.4.bias",
        "lraspp_mobilenet_v3_large": "classifier.low_classifier.weight, classifier.low_classifier.bias, "
        "classifier.high_classifier.weight, classifier.high_classifier.bias",
    }
    assert caplog.messages[-1].endswith(f"coco.pth into {name}: all tensors except {heads[name]}")
    loaded = network.body.body.state_dict()
    kept = [key for key in loaded if key not in heads[name]]
    assert all(torch.equal(loaded[key], original.state_dict()[key]) for key in kept)


def test_weights_of_a_different_network_are_refused(tmp_path):
    torch.save(build_original(DEEPLAB).state_dict(), tmp_path / "deeplab.pth")
    with pytest.raises(UserError, match=r"expected weights of lraspp_mobilenet_v3_large; .*deeplab\.pth lacks"):
        TorchvisionNet(3, 3, (64, 64), "lraspp_mobilenet_v3_large", str(tmp_path / "deeplab.pth")).load_pretrained()
