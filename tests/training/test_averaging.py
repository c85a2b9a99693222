"""The averaged weights are those that are scored, saved and published; they are the mean that they should be."""

import csv
from pathlib import Path

import pytest
import torch

from leyden import load
from leyden.cli import main
from leyden.runtimes.load import predict_logits
from leyden.training.averaging import TailAveraging
from tests.conftest import REPO

OVERLAYS = {"ema": "configs/experiment/ema.yaml", "swa": "configs/experiment/swa.yaml"}


@pytest.fixture
def workspace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/prepare").symlink_to(trained / "artifacts/prepare")
    (tmp_path / "configs").symlink_to(REPO / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_the_mean_from_the_start_on():
    averaging = TailAveraging()
    averaging._start = 3
    mean = torch.tensor(0.0)
    found = []
    for count, value in enumerate([9.0, 9.0, 9.0, 1.0, 2.0, 6.0]):
        mean = torch.tensor(value) if not count else averaging._mean(mean, torch.tensor(value), torch.tensor(count))
        found.append(float(mean))
    assert found == pytest.approx([9, 9, 9, 1, 1.5, 3])


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_published_weights_are_the_averaged_ones_and_were_scored(name, workspace):
    args = [
        "fit",
        "-c",
        "configs/train.yaml",
        "-c",
        OVERLAYS[name],
        "--network.init_args.width=8",
        "--trainer.precision=32-true",
    ]
    assert (
        main(
            [
                *args,
                "--trainer.max_epochs=6",
                "--trainer.callbacks.init_args.decay=0.9" if name == "ema" else "--seed_everything=0",
            ]
        )
        == 0
    )
    (run,) = Path("runs").iterdir()
    last = torch.load(run / "last.ckpt", weights_only=True)
    best = torch.load("artifacts/train/model.ckpt", weights_only=True)["state_dict"]
    assert torch.load(run / "best.ckpt", weights_only=True)["epoch"] == 5  # of a training this short
    key = "model.network.stem.0.weight"
    assert torch.equal(best[key], last["state_dict"][key]) and not torch.equal(
        best[key], last["current_model_state"][key]
    )
    model = load("artifacts/train/model.ckpt")
    assert torch.equal(model.network.stem[0].weight, best[key])
    from leyden.data.packed import read_split

    split = read_split(Path("artifacts/prepare"), "val")
    accuracy = (predict_logits(model, split.images, 64).argmax(1) == torch.from_numpy(split.labels)).float().mean()
    with open("artifacts/train/curves.csv", newline="") as file:
        row = list(csv.DictReader(file))[-1]
    assert float(row["val/accuracy"]) == pytest.approx(float(accuracy)) and accuracy > 0.8
