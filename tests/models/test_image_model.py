"""Preprocessing inside the model, and networks built from their class path."""

import pytest
import torch
from PIL import Image
from torch import nn

from leyden.errors import UserError
from leyden.models.image_model import ImageModel, Preprocess
from leyden.models.network_spec import build_network

DATA_ARGS = {"num_classes": 3, "in_channels": 1, "image_size": (8, 8)}
GREY = {"channels": 1, "image_size": [8, 8], "mean": [0.25], "std": [0.5]}
COLOUR = {"channels": 3, "image_size": [20, 30], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.25]}
RESNET = {"class_path": "leyden.models.ResNet", "init_args": {"width": 4, "depths": [1, 1]}}


def test_preprocess_scales_and_normalises():
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat(32).view(1, 1, 8, 8)
    out = Preprocess(GREY, expand=False)(images)
    assert out.unique().tolist() == [-0.5, 1.5]


def test_preprocess_resizes_as_the_file_reader_does():
    pixels = torch.randint(0, 256, (1, 3, 61, 47), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preprocess = Preprocess({"channels": 3, "image_size": [20, 30], "mean": [0.0] * 3, "std": [1.0] * 3}, expand=False)
    resized = preprocess(pixels)[0] * 255
    image = Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).resize((30, 20), Image.Resampling.BILINEAR)
    expected = torch.tensor(list(image.tobytes())).view(20, 30, 3).permute(2, 0, 1)
    assert (resized - expected).abs().max() < 1.5  # grey levels


@pytest.mark.parametrize(
    "images",
    [torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 8, 8, dtype=torch.uint8)],
)
def test_invalid_images_are_refused(images):
    with pytest.raises(UserError, match=r"expected uint8 images \(B, 1, H, W\); got"):
        Preprocess(GREY, expand=False)(images)


def test_model_accepts_raw_images_of_any_size():
    model = ImageModel(RESNET, ["a", "b", "c"], COLOUR).eval()
    for size in ((20, 30), (7, 9), (100, 64)):
        assert model(torch.zeros(2, 3, *size, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.filterwarnings("ignore:The parameter 'pretrained' is deprecated")
def test_a_torchvision_function_accepts_grey_images_and_any_labels():
    model = ImageModel(
        {"class_path": "torchvision.models.resnet18", "init_args": {"weights": None}}, ["a", "b", "c"], GREY
    ).eval()
    assert model(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 3)
    assert model.preprocess(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 3, 8, 8)


class Plain(nn.Module):
    def __init__(self, num_classes: int, **kwargs: object) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(num_classes)


def no_annotation(num_classes):
    return nn.Linear(1, num_classes)


def test_a_class_of_the_user():
    network, accepted = build_network({"class_path": f"{__name__}.Plain", "init_args": {"extra": 3}}, DATA_ARGS)
    assert isinstance(network, Plain)
    assert accepted == {"num_classes"}


@pytest.mark.parametrize(
    ("path", "args", "message"),
    [
        ("leyden.models.ResNet", {"widht": 3}, "did you mean 'width'"),
        ("leyden.models.ResNet", {"width": -1}, "cannot be built|negative"),
        ("leyden.models.Nothing", {}, "cannot be imported"),
        ("nothing.at.All", {}, "cannot be imported"),
        ("os.system", {"command": "echo"}, "neither"),
        ("subprocess.Popen", {"args": "echo"}, "neither"),
        (f"{__name__}.no_annotation", {}, "neither"),
        ("torch.nn.ReLU", {}, "has none; wrap it"),
    ],
)
def test_invalid_specifications_are_refused(path, args, message):
    with pytest.raises((UserError, RuntimeError), match=message):
        build_network({"class_path": path, "init_args": args}, DATA_ARGS)
