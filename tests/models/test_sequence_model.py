"""Sequence models: padding has no influence, and training on the command line learns."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import leyden
from leyden import UserError
from leyden.cli import main
from leyden.models.sequence_model import SequenceModel

INPUT = {"features": 2, "mean": [1.0, -1.0], "std": [2.0, 0.5]}


def model(**init_args) -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(
        {"class_path": "leyden.models.GRUClassifier", "init_args": init_args}, ["a", "b", "c"], INPUT
    ).eval()


@pytest.mark.parametrize("init_args", [{"width": 5}, {"width": 4, "num_layers": 2, "dropout": 0.5}])
def test_padding_has_no_influence(init_args):
    network = model(**init_args)
    values, lengths = torch.randn(4, 9, 2), torch.tensor([9, 3, 1, 6])
    logits = network(values, lengths)
    assert logits.shape == (4, 3)
    noisy = values.clone()
    for row, length in enumerate(lengths):
        noisy[row, length:] = 1e6
        alone = network(values[row : row + 1, :length], lengths[row : row + 1])
        assert torch.allclose(alone[0], logits[row], atol=1e-6)
    assert torch.allclose(network(noisy, lengths), logits, atol=1e-6)


def test_every_step_before_the_end_has_an_influence():
    values = torch.randn(1, 7, 2, requires_grad=True)
    model(width=5)(values, torch.tensor([5])).sum().backward()
    assert (values.grad[0, :5].abs() > 0).all()
    assert (values.grad[0, 5:] == 0).all()


def test_values_are_standardised():
    values = torch.tensor([[[3.0, -1.0], [9.0, 9.0]]])
    assert model(width=2).preprocess(values, torch.tensor([1])).tolist() == [[[1, 0], [0, 0]]]


@pytest.mark.parametrize("values", [torch.zeros(1, 2, 3), torch.zeros(2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)])
def test_other_shapes_and_types_are_refused(values):
    with pytest.raises(UserError, match=r"expected values float \(B, T, 2\)"):
        model(width=2)(values, torch.tensor([2]))


def test_a_network_for_images_is_refused():
    with pytest.raises(UserError, match="expected a network with an argument in_features"):
        SequenceModel({"class_path": "leyden.models.ResNet"}, ["a", "b"], INPUT)


def test_sequences_train_evaluate_and_predict(in_sequences, error_of):
    config = ["-c", "configs/train.yaml", "-c", "configs/experiment/sequences.yaml"]
    assert main(["fit", *config, "--trainer.max_epochs=15", "--data.batch_size=16"]) == 0
    assert main(["evaluate", "--num_resamples=50"]) == 0
    rows = list(csv.DictReader(Path("artifacts/evaluate/predictions.csv").read_text().splitlines()))
    assert np.mean([row["label"] == row["prediction"] for row in rows]) > 0.9
    loaded = leyden.load("artifacts/train/model.ckpt")
    assert loaded.features == 2
    assert loaded.labels == ["down", "up", "wave"]
    np.save("wide.npy", np.zeros((4, 3)))
    assert main(["predict", "artifacts/train/model.ckpt", "data/wave", "wide.npy", "missing.csv"]) == 0
    predicted = {row["path"]: row for row in csv.DictReader(Path("predictions.csv").read_text().splitlines())}
    assert predicted["wide.npy"]["error"] == "3 features; the model expects 2"
    assert "No such file" in predicted["missing.csv"]["error"]
    readable = [row for row in predicted.values() if not row["error"]]
    assert len(readable) == 20
    assert np.mean([row["prediction"] == "wave" for row in readable]) > 0.9
    # Batches of other sequences, with other padding, give the same confidence.
    evaluated = next(row for row in rows if row["path"].startswith("wave/"))
    again = predicted[f"data/{evaluated['path']}"]
    assert abs(float(again["confidence"]) - float(evaluated["confidence"])) < 1e-3
    assert "expected images for mixing" in error_of("fit", *config, "--model.mixing.mixup_alpha=0.2")
