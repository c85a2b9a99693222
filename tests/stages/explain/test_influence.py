"""Influence of training examples: what captum says is the product of gradients, and twins of an example come first."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leyden.data.packed import Split, read_split
from leyden.files import write_json
from leyden.models.checkpoint import load_checkpoint
from leyden.models.image_model import ImageModel
from leyden.runtimes.load import predict_logits
from leyden.stages.explain.examples import describe
from leyden.stages.explain.influence import influences, last_layer, write_influence
from leyden.stages.explain.inputs import inputs_of


class TailNetwork(nn.Module):
    """Logits that no layer gives as they are."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels * 64, num_classes)

    def forward(self, images):
        return 2 * self.layer(images.flatten(1))


@pytest.fixture
def module(in_trained) -> ImageModel:
    return load_checkpoint(Path("artifacts/train/model.ckpt"))


def test_influence_is_the_product_of_the_last_layer_s_gradients(module):
    train, test = read_split("artifacts/prepare", "train"), read_split("artifacts/prepare", "test")
    rows = [0, 100, 300]  # of several classes
    inputs = inputs_of(module, test.images[rows])
    layer = last_layer(module.network, inputs)
    assert layer is module.network.head

    def gradient(image, label):
        logits = module.network(*inputs_of(module, image[None]))
        return torch.autograd.grad(F.cross_entropy(logits, torch.tensor([label])), layer.weight)[0].flatten()

    state = torch.get_rng_state()
    found = influences(module, layer, inputs, torch.from_numpy(test.labels[rows]), train)
    assert torch.equal(torch.get_rng_state(), state) and found.shape == (3, len(train.labels))
    ours = torch.stack(
        [gradient(image, label) for image, label in zip(test.images[rows], test.labels[rows], strict=True)]
    )
    rows = [0, 5, 255, 256, 700]  # of several batches
    theirs = torch.stack([gradient(train.images[row], train.labels[row]) for row in rows])
    torch.testing.assert_close(found[:, rows], ours @ theirs.T, rtol=1e-3, atol=1e-6)


def influences_beside_a_twin(module: ImageModel, row: int, label: int) -> tuple[torch.Tensor, np.ndarray]:
    """Add a test image to the training images under some label; give all influences on it, the twin's last, and the labels."""
    train, test = read_split("artifacts/prepare", "train"), read_split("artifacts/prepare", "test")
    split = Split(np.concatenate([train.images, test.images[[row]]]), np.append(train.labels, label))
    inputs, labels = inputs_of(module, test.images[[row]]), torch.from_numpy(test.labels[[row]])
    return influences(module, module.network.head, inputs, labels, split)[0], split.labels


def test_a_twin_of_an_error_helps_and_a_mislabelled_twin_harms_most(module):
    test = read_split("artifacts/prepare", "test")
    confidence, predicted = predict_logits(module, test.images, 256).softmax(1).max(1)
    right = predicted == torch.from_numpy(test.labels)
    error = int(confidence.masked_fill(right, 0).argmax())  # in barely an error, harder examples of its class say more
    found, labels = influences_beside_a_twin(module, error, test.labels[error])
    assert (found > found[-1]).sum() < 3 and set(labels[found.argsort()[-5:]]) == {test.labels[error]}
    sure = int(confidence.masked_fill(~right, 0).argmax())
    for wrong in (test.labels[sure] + 1) % 10, (test.labels[sure] + 5) % 10:
        found, _ = influences_beside_a_twin(module, sure, wrong)
        assert (found < found[-1]).sum() < 3 and found[-1] < 0


def write(folder: Path, module: ImageModel, count: int, reasons: list[str]) -> list[dict[str, str]]:
    labels = read_split("artifacts/prepare", "test").labels
    described = describe(module, torch.eye(10)[[1, 2]], ["a.png", "b.png"], labels[[4, 9]], reasons)
    described = [row | {"file": f"maps/0{number}.png"} for number, row in enumerate(described)]
    write_influence(folder, module, Path("artifacts/prepare"), [4, 9], described, count)
    with open(folder / "influence.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_names_training_examples_of_errors_or_else_of_doubts(module, tmp_path):
    rows = write(tmp_path, module, 3, ["wrong", "unsure"])
    assert [(row["path"], row["effect"], row["rank"]) for row in rows] == [
        ("a.png", effect, rank) for effect in ("helpful", "harmful") for rank in "123"
    ]
    values = [float(row["influence"]) for row in rows]
    assert values[0] >= values[1] >= values[2] > 0 > values[5] >= values[4] >= values[3]
    train = read_split("artifacts/prepare", "train")
    assert all(
        module.labels[train.labels[int(row["training_row"])]]
        == row["training_label"]
        == row["training_path"].split("/")[0]
        for row in rows
    )
    assert {row["training_label"] for row in rows if row["effect"] == "helpful"} == {rows[0]["label"]}
    assert [row["path"] for row in write(tmp_path, module, 1, ["right", "unsure"])] == ["b.png"] * 2


def test_without_influence_a_header_remains(module, tmp_path, capsys):
    assert write(tmp_path, module, 0, ["wrong", "wrong"]) == []
    facts = {"channels": 1, "image_size": [8, 8], "mean": [0.5], "std": [0.5]}
    assert (
        write(
            tmp_path, ImageModel({"class_path": f"{__name__}.TailNetwork"}, module.labels, facts), 3, ["wrong", "wrong"]
        )
        == []
    )
    assert "a network that ends in a linear layer" in capsys.readouterr().out
    write_json(tmp_path / "report.json", {"shards": "s3://bucket/shards"})
    write_influence(tmp_path, module, tmp_path, [0], [{"chosen": "wrong"}], 3)
    assert "training examples, which are in shards" in capsys.readouterr().out
    assert (
        (tmp_path / "influence.csv")
        .read_text()
        .startswith("file,path,label,prediction,effect,rank,influence,training_row")
    )
