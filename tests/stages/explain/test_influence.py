"""Captum's influence of training examples is a product of gradients, and duplicates of an example come first."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leyden.data.packed import Split, read_split
from leyden.files.tables import read_table
from leyden.models.checkpoint import load_checkpoint
from leyden.models.image_model import ImageModel
from leyden.outputs import load_reader
from leyden.outputs.reader import OutputReader
from leyden.runtimes.load import predict_logits
from leyden.stages.explain.batch import open_prepared_data, preprocess
from leyden.stages.explain.influence import compute_influences, last_linear_layer, write_influence


class ScaledLogitsNetwork(nn.Module):
    """A network whose logits are not the output of a linear layer."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels * 64, num_classes)

    def forward(self, images):
        return 2 * self.layer(images.flatten(1))


def reader_of(module: ImageModel) -> OutputReader:
    return load_reader(module.spec)


@pytest.fixture
def module(in_trained) -> ImageModel:
    return load_checkpoint(Path("artifacts/train/model.ckpt"))


def test_influence_is_the_product_of_the_last_layer_s_gradients(module):
    train, test = read_split("artifacts/prepare", "train"), read_split("artifacts/prepare", "test")
    rows = [0, 100, 300]  # of several classes
    inputs = preprocess(module, test.images[rows])
    layer = last_linear_layer(module.network, inputs)
    assert layer is module.network.head

    def gradient(image, label):
        logits = module.network(*preprocess(module, image[None]))
        return torch.autograd.grad(F.cross_entropy(logits, torch.tensor([label])), layer.weight)[0].flatten()

    state = torch.get_rng_state()
    influences = compute_influences(
        module, reader_of(module), layer, inputs, torch.from_numpy(test.targets[rows]), train
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert influences.shape == (3, len(train.targets))
    test_gradients = torch.stack(
        [gradient(image, label) for image, label in zip(test.images[rows], test.targets[rows], strict=True)]
    )
    rows = [0, 5, 255, 256, 700]  # of several batches
    train_gradients = torch.stack([gradient(train.images[row], train.targets[row]) for row in rows])
    torch.testing.assert_close(influences[:, rows], test_gradients @ train_gradients.T, rtol=1e-3, atol=1e-6)


def influences_with_duplicate(module: ImageModel, row: int, label: int) -> tuple[torch.Tensor, np.ndarray]:
    """Add a test image to the training images with some label; return all influences on it, the copy's last."""
    train, test = read_split("artifacts/prepare", "train"), read_split("artifacts/prepare", "test")
    split = Split(np.concatenate([train.images, test.images[[row]]]), np.append(train.targets, label))
    inputs, labels = preprocess(module, test.images[[row]]), torch.from_numpy(test.targets[[row]])
    return compute_influences(module, reader_of(module), module.network.head, inputs, labels, split)[0], split.targets


def test_a_duplicate_of_an_error_helps_and_a_mislabelled_one_harms_most(module):
    test = read_split("artifacts/prepare", "test")
    confidence, predicted = predict_logits(module, test.images, 256).softmax(1).max(1)
    right = predicted == torch.from_numpy(test.targets)
    # The most confident error: for a borderline one, harder examples of its class have more influence.
    error = int(confidence.masked_fill(right, 0).argmax())
    influences, labels = influences_with_duplicate(module, error, test.targets[error])
    assert (influences > influences[-1]).sum() < 3
    assert set(labels[influences.argsort()[-5:]]) == {test.targets[error]}
    confident = int(confidence.masked_fill(~right, 0).argmax())
    for wrong in (test.targets[confident] + 1) % 10, (test.targets[confident] + 5) % 10:
        influences, _ = influences_with_duplicate(module, confident, wrong)
        assert (influences < influences[-1]).sum() < 3
        assert influences[-1] < 0


def write(folder: Path, module: ImageModel, count: int, reasons: list[str]) -> list[dict[str, str]]:
    prepared = open_prepared_data(Path("artifacts/prepare"), module, Path("model.ckpt"))
    labels = [module.labels[target] for target in prepared.test.targets[[4, 9]]]
    rows = [
        {"file": "", "path": path, "label": label, "prediction": "", "chosen": reason}
        for path, label, reason in zip(["a.png", "b.png"], labels, reasons, strict=True)
    ]
    write_influence(folder, module, reader_of(module), prepared, [4, 9], rows, count)
    return read_table(folder / "influence.csv", "explain")


def test_the_table_lists_training_examples_for_errors_or_else_for_unsure_predictions(module, tmp_path):
    rows = write(tmp_path, module, 3, ["wrong", "unsure"])
    assert [(row["path"], row["effect"], row["rank"]) for row in rows] == [
        ("a.png", effect, rank) for effect in ("helpful", "harmful") for rank in "123"
    ]
    values = [float(row["influence"]) for row in rows]
    assert values[0] >= values[1] >= values[2] > 0 > values[5] >= values[4] >= values[3]
    train = read_split("artifacts/prepare", "train")
    assert all(
        module.labels[train.targets[int(row["training_row"])]]
        == row["training_label"]
        == row["training_path"].split("/")[0]
        for row in rows
    )
    assert {row["training_label"] for row in rows if row["effect"] == "helpful"} == {rows[0]["label"]}
    assert [row["path"] for row in write(tmp_path, module, 1, ["right", "unsure"])] == ["b.png"] * 2


def test_without_influence_a_header_remains(module, tmp_path, capsys):
    assert write(tmp_path, module, 0, ["wrong", "wrong"]) == []
    facts = {"channels": 1, "image_size": [8, 8], "mean": [0.5], "std": [0.5]}
    scaled = ImageModel({"class_path": f"{__name__}.ScaledLogitsNetwork"}, module.labels, facts)
    assert write(tmp_path, scaled, 3, ["wrong", "wrong"]) == []
    assert "a network that ends in a linear layer" in capsys.readouterr().out
    sharded = open_prepared_data(Path("artifacts/prepare"), module, Path("model.ckpt"))._replace(train=None)
    write_influence(tmp_path, module, reader_of(module), sharded, [0], [{"chosen": "wrong"}], 3)
    assert "the training examples are in shards" in capsys.readouterr().out
    header = "file,path,label,prediction,effect,rank,influence,training_row"
    assert (tmp_path / "influence.csv").read_text().startswith(header)
