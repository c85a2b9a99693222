"""timm's networks for any image size, channels and labels, with pretrained weights and their normalisation."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

import leyden
from leyden import SupervisedModule, UserError
from leyden.cli import main
from leyden.models import TimmNet, TorchvisionNet
from leyden.models.normalization import IMAGENET, Normalization

INPUT = {"channels": 3, "image_size": [32, 32], "mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]}
HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # of timm's networks for tests
HEADS = {"test_resnet": "fc", "test_efficientnet": "classifier", "test_vit": "head"}


@pytest.fixture(scope="module", params=[".pth", ".safetensors"])
def weights(request, tmp_path_factory):
    """A state dict of timm's own network, with 7 labels."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / f"resnet{request.param}"
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    save_file(state, path) if request.param == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("name", [*HEADS, "convnext_atto"])
@pytest.mark.parametrize(("channels", "size"), [(1, (32, 32)), (3, (64, 96))])
def test_channels_size_and_head_fit(name, channels, size):
    network = TimmNet(channels, 5, size, name).eval()
    assert network(torch.randn(2, channels, *size)).shape == (2, 5)
    assert not any(getattr(layer, "inplace", False) for layer in network.modules())


def test_a_file_is_loaded_except_for_the_head_which_starts_at_zero(weights, caplog):
    network = TimmNet(3, 5, (64, 64), "test_resnet", str(weights))
    assert network.load_pretrained() == HALF
    original = timm.create_model("test_resnet", num_classes=7, checkpoint_path=str(weights)).eval()
    images = torch.randn(2, 3, 64, 64)
    features = [
        net.forward_head(net.forward_features(images), pre_logits=True) for net in (network.eval().body, original)
    ]
    assert torch.equal(*features)
    assert torch.equal(network(images), torch.zeros(2, 5))
    total = len(original.state_dict())
    assert caplog.messages == [
        f"fit: loaded {weights} into test_resnet: {total - 2} of {total} tensors; the head (fc) starts at zero"
    ]


def test_features_of_grey_images_are_those_of_the_same_images_in_rgb(weights):
    grey, colour = (TimmNet(channels, 5, (64, 64), "test_resnet", str(weights)) for channels in (1, 3))
    for network in (grey, colour):
        network.load_pretrained()
    images = torch.randn(2, 1, 64, 64)
    features = grey.eval().body.forward_features(images)
    assert torch.allclose(features, colour.eval().body.forward_features(images.expand(-1, 3, -1, -1)), atol=1e-4)


def test_position_embeddings_of_another_image_size_are_resized(tmp_path):
    original = timm.create_model("test_vit", num_classes=7)
    torch.save(original.state_dict(), tmp_path / "vit.pth")
    network = TimmNet(3, 5, (64, 64), "test_vit", str(tmp_path / "vit.pth"))
    network.load_pretrained()
    assert network.body.pos_embed.shape != original.pos_embed.shape
    assert torch.equal(network.body.cls_token, original.cls_token)


def test_both_heads_of_a_distilled_transformer_start_at_zero(tmp_path, caplog):
    name = "deit_tiny_distilled_patch16_224"
    original = timm.create_model(name, num_classes=7, img_size=32, depth=1)
    torch.save(original.state_dict(), tmp_path / "deit.pth")
    network = TimmNet(3, 5, (32, 32), name, str(tmp_path / "deit.pth"), {"depth": 1})
    network.load_pretrained()
    assert torch.equal(network.eval()(torch.randn(2, 3, 32, 32)), torch.zeros(2, 5))
    assert torch.equal(network.body.dist_token, original.dist_token)
    assert caplog.messages[0].endswith("the head (head, head_dist) starts at zero")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layer1.0.conv1.weight"), r"resnet.pth does not fit \(.*layer1.0.conv1.weight"),
        (lambda state: state.update({"other": torch.zeros(1)}), r"does not fit \(.*other"),
        (lambda state: state.update({"bn1.weight": torch.zeros(3)}), r"does not fit \(size mismatch for bn1.weight"),
        (lambda state: state.clear(), "holds something else"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path, change, message):
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    change(state)
    torch.save(state, tmp_path / "resnet.pth")
    with pytest.raises(UserError, match=message) as refused:
        TimmNet(3, 5, (64, 64), "test_resnet", str(tmp_path / "resnet.pth")).load_pretrained()
    assert "\n" not in str(refused.value)


def test_a_name_that_timm_does_not_have_is_one_line():
    with pytest.raises(UserError, match=r"expected the name of a network in timm; got 'resnet81' \(did you mean"):
        TimmNet(3, 5, (64, 64), "resnet81")


def test_images_that_are_too_small_are_one_line():
    with pytest.raises(UserError, match=r"expected larger images for test_vit; got 4x4"):
        TimmNet(3, 5, (4, 4), "test_vit")


def test_without_weights_to_download_or_a_connection_it_is_one_line(monkeypatch):
    network = TimmNet(3, 5, (64, 64), "test_resnet", "DEFAULT")

    def create_model(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(UserError, match=r"expected to download the weights of test_resnet; got: no route to host; set"):
        network.load_pretrained()
    monkeypatch.setattr(timm, "is_model_pretrained", lambda name: False)
    with pytest.raises(UserError, match=r"expected a network that timm has weights for; got test_resnet; set"):
        network.load_pretrained()


def test_normalization_of_other_channels():
    assert IMAGENET.of_channels(3) is IMAGENET
    assert IMAGENET.of_channels(1) == Normalization([pytest.approx(0.449)], [pytest.approx(0.226)])
    assert IMAGENET.of_channels(4) is None


@pytest.mark.parametrize(
    ("kind", "name", "expected"), [(TimmNet, "test_resnet", HALF), (TorchvisionNet, "resnet18", IMAGENET)]
)
def test_a_model_normalises_as_its_weights_were_trained(kind, name, expected, tmp_path):
    network = {"class_path": f"leyden.models.{kind.__name__}", "init_args": {"name": name}}
    torch.save(kind(3, 2, (32, 32), name).body.state_dict(), tmp_path / "weights.pth")
    plain = SupervisedModule(network, ["a", "b"], INPUT).model
    assert plain.input["mean"] == INPUT["mean"]
    network["init_args"]["weights"] = str(tmp_path / "weights.pth")
    model = SupervisedModule(network, ["a", "b"], INPUT).model
    assert model.input == {**INPUT, "mean": list(expected.mean), "std": list(expected.std)}
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    normalized = (1 - torch.tensor(expected.mean)) / torch.tensor(expected.std)
    assert torch.allclose(model.preprocess(white)[0, :, 0, 0], normalized)


def test_it_is_trained_from_a_file_scored_and_loaded_without_that_file(workspace, tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), path)
    args = ("--network=timm:test_resnet", f"--network.init_args.weights={path}", "--trainer.max_epochs=1")
    assert main(["fit", *args]) == 0
    assert main(["test", *args]) == 0
    path.unlink()
    model = leyden.load("artifacts/train/model.ckpt")
    report = json.loads((workspace / "artifacts/prepare/report.json").read_text())
    assert model.input == {**report["input"], "mean": [0.5], "std": [0.5]}
    assert main(["evaluate", "--robustness=[]"]) == 0


def test_a_config_names_it_in_short(workspace, tmp_path, capsys):
    (tmp_path / "my.yaml").write_text("network: timm:test_vit\n")
    with pytest.raises(SystemExit) as done:
        main(["fit", "-c", "configs/train.yaml", "-c", str(tmp_path / "my.yaml"), "--print_config"])
    assert not done.value.code
    printed = capsys.readouterr().out
    assert "class_path: leyden.models.TimmNet" in printed
    assert "name: test_vit" in printed
