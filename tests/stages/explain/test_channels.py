"""Conductance ranks the channel that a class depends on first, and adds up to the change of the logit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from leyden.cli import main
from leyden.data.packed import read_split
from leyden.files.tables import read_table
from leyden.models.checkpoint import load_checkpoint
from leyden.models.image_model import ImageModel
from leyden.outputs.classification import ClassificationReader
from leyden.stages.explain.batch import Batch, preprocess
from leyden.stages.explain.channels import conductance, last_spatial_module, write_channels
from leyden.stages.explain.network import ExplainedOutputs
from tests.conftest import outputs_of

READER = ClassificationReader(["none", "two"])
CHANNEL_OF_CLASS = {0: 1, 1: 3}


class FourChannelNetwork(nn.Module):
    """Four channels, of which each class reads the upper left corner of one."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 4, 1, bias=False)
        self.layer.weight = nn.Parameter(torch.ones_like(self.layer.weight))
        self.activation = nn.ReLU()
        self.head = nn.Linear(4 * 8 * 8, num_classes, bias=False)
        weight = torch.zeros(num_classes, 4, 8, 8)
        for label, channel in CHANNEL_OF_CLASS.items():
            weight[label, channel, :2, :2] = 1.0
        self.head.weight = nn.Parameter(weight.flatten(1))

    def forward(self, images):
        return self.head(self.activation(self.layer(images)).flatten(1))


class FlatNetwork(nn.Sequential):
    """A network without spatial dimensions."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(in_channels * 64, num_classes))


def make_model(network: type) -> ImageModel:
    facts = {"channels": 3, "image_size": [8, 8], "mean": [0.2] * 3, "std": [0.2] * 3}
    return ImageModel({"class_path": f"{__name__}.{network.__name__}"}, ["none", "two"], facts).eval()


def write(folder: Path, module, count: int) -> list[dict[str, str]]:
    (folder / "maps").mkdir(exist_ok=True)
    images = np.random.default_rng(0).integers(100, 256, (70, 8, 8, 3), np.uint8)
    labels = torch.arange(70) % 2
    write_channels(folder, module, READER, Batch(images, preprocess(module, images), labels, labels), count)
    return read_table(folder / "channels.csv", "explain")


def test_the_channel_that_a_class_depends_on_comes_first(tmp_path):
    rows = write(tmp_path, make_model(FourChannelNetwork), 2)
    assert [(row["label"], row["rank"], row["images"], row["layer"]) for row in rows] == [
        (label, rank, "35", "activation") for label in ("none", "two") for rank in "12"
    ]
    assert [int(row["channel"]) for row in rows[::2]] == list(CHANNEL_OF_CLASS.values())
    assert [float(row["share"]) for row in rows] == [1, 0, 1, 0]
    for label in (0, 1):
        assert rows[2 * label]["file"] == f"maps/channel-{label}.png"
        assert rows[2 * label + 1]["file"] == ""
        pixels = np.asarray(Image.open(tmp_path / f"maps/channel-{label}.png")).astype(int)
        red, _, blue = pixels.transpose(2, 0, 1)[:, :160, :160]  # without the colour bar
        coloured = np.abs(red - blue) > 0
        assert coloured.any()
        assert not coloured[60:].any()
        assert not coloured[:, 60:].any()


@pytest.mark.parametrize(("layer", "tolerance"), [("blocks", 1e-4), ("stem", 0.3)])
def test_conductance_adds_up_to_the_change_of_the_logit(layer, tolerance, in_trained):
    module = load_checkpoint(Path("artifacts/train/model.ckpt"))
    inputs = preprocess(module, read_split("artifacts/prepare", "test").images[:40])[0]
    assert last_spatial_module(module.network, inputs[:1], is_dense=False) == "blocks"
    state = torch.get_rng_state()
    with torch.no_grad():
        logits = module.network(inputs)
        targets = logits.argmax(1)
        changes = (logits - module.network(torch.zeros_like(inputs))).gather(1, targets[:, None]).squeeze(1)
    attributions = conductance(ExplainedOutputs(module.network, READER), layer, inputs, targets, targets)
    assert attributions.ndim == 4
    assert changes.abs().mean() > 1
    torch.testing.assert_close(attributions.sum(dim=(1, 2, 3)), changes, atol=tolerance, rtol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_channels_a_header_remains(tmp_path, capsys):
    assert write(tmp_path, make_model(FourChannelNetwork), 0) == []
    assert capsys.readouterr().out == ""
    assert write(tmp_path, make_model(FlatNetwork), 2) == []
    assert "channels left out: the network has no layer with spatial dimensions" in capsys.readouterr().out
    assert (tmp_path / "channels.csv").read_text().startswith("label,images,layer,rank,channel,conductance,share,file")


def test_stage_writes_what_the_pipeline_expects(in_trained, tmp_path):
    args = ["--num_evidence=20", "--num_shown=6", "--methods=[saliency]"]
    assert main(["explain", "--out", str(tmp_path / "explain"), *args]) == 0
    for out in outputs_of("explain"):
        assert (tmp_path / Path(out).relative_to("artifacts")).exists(), out
    assert len((tmp_path / "explain/influence.csv").read_text().splitlines()) > 6
    drawn = [row["file"] for row in read_table(tmp_path / "explain/channels.csv", "explain") if row["file"]]
    assert drawn
    assert all((tmp_path / "explain" / name).is_file() for name in drawn)
    assert (tmp_path / "explain/concepts.csv").read_text().count("\n") == 1
