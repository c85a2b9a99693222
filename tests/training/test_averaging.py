"""Averaged weights are a correct mean, and are the ones that are scored, saved and published."""

import csv
from pathlib import Path

import pytest
import torch

from leyden import load
from leyden.cli import main
from leyden.data.packed import read_split
from leyden.runtimes.load import predict_logits
from leyden.training.averaging import TailAveraging

OPTIONS = {
    "ema": ["-c", "configs/experiment/ema.yaml", "--trainer.callbacks.init_args.decay=0.9"],
    "swa": ["-c", "configs/experiment/swa.yaml"],
}


def test_the_mean_begins_at_the_start_step():
    averaging = TailAveraging()
    averaging._start_step = 3
    means, mean = [], torch.tensor(9.0)
    for num_averaged, value in enumerate([9.0, 9.0, 9.0, 1.0, 2.0, 6.0]):
        if num_averaged:
            mean = averaging._update_mean(mean, torch.tensor(value), torch.tensor(num_averaged))
        means.append(float(mean))
    assert means == pytest.approx([9, 9, 9, 1, 1.5, 3])


@pytest.mark.parametrize("name", OPTIONS)
def test_the_published_weights_are_the_averaged_ones_and_were_scored(name, workspace):
    small = ["--network.init_args.width=8", "--trainer.precision=32-true", "--trainer.max_epochs=6"]
    assert main(["fit", "-c", "configs/train.yaml", *OPTIONS[name], *small]) == 0
    (run,) = Path("runs").iterdir()
    last = torch.load(run / "last.ckpt", weights_only=True)
    published = torch.load("artifacts/train/model.ckpt", weights_only=True)["state_dict"]
    # In so short a training, the last epoch is the best.
    assert torch.load(run / "best.ckpt", weights_only=True)["epoch"] == 5
    key = "model.network.stem.0.weight"
    assert torch.equal(published[key], last["state_dict"][key])
    assert not torch.equal(published[key], last["current_model_state"][key])

    model = load("artifacts/train/model.ckpt")
    assert torch.equal(model.network.stem[0].weight, published[key])
    split = read_split(Path("artifacts/prepare"), "val")
    accuracy = (predict_logits(model, split.images, 64).argmax(1) == torch.from_numpy(split.targets)).float().mean()
    with open("artifacts/train/curves.csv", newline="") as file:
        row = list(csv.DictReader(file))[-1]
    assert float(row["val/accuracy"]) == pytest.approx(float(accuracy))
    assert accuracy > 0.8
