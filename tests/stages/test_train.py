"""`leyden fit`, `validate` and `test`: their outputs, their errors, and exact resumption."""

import csv
import importlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader

import leyden
from leyden import ImageData
from leyden.cli import main
from leyden.training import run_folder
from leyden.training.cli import LeydenCLI
from leyden.training.run_checkpoint import RunCheckpoint
from leyden.training.run_folder import Run
from tests.conftest import REPO

SMALL = ("--network.init_args.width=4", "--trainer.precision=32-true")


def weights(path: str | Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def are_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class CustomModule(LightningModule):
    """Has no steps."""


def test_fit_publishes_model_scores_and_curves(in_trained):
    assert sorted(path.name for path in Path("artifacts/train").iterdir()) == [
        ".leyden",
        "config.yaml",
        "curves.csv",
        "metrics.json",
        "model.ckpt",
        "provenance.json",
    ]
    with open("artifacts/train/curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert all(all(row.values()) for row in rows)
    assert set(rows[0]) == {
        "epoch",
        "step",
        "learning_rate",
        "train/loss",
        "val/loss",
        "val/accuracy",
        "val/balanced_accuracy",
    }
    metrics = json.loads(Path("artifacts/train/metrics.json").read_text())
    best = min(rows, key=lambda row: float(row["val/loss"]))
    assert metrics["epoch"] == int(best["epoch"])
    assert metrics["val/loss"] == float(best["val/loss"])
    assert metrics["val/accuracy"] > 0.85


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_steps_without_a_gpu_do_not_search_for_one(in_trained, monkeypatch):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    LeydenCLI.parse("fit", ["-c", "configs/train.yaml"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("searched for NVIDIA's library"))
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.sum().backward()
    torch.optim.AdamW([parameter]).step()


def test_the_saved_config_repeats_the_training(workspace):
    assert main(["fit", *SMALL, "--trainer.max_epochs=2"]) == 0
    first = weights("artifacts/train/model.ckpt")
    Path("saved.yaml").write_bytes(Path("artifacts/train/config.yaml").read_bytes())
    assert yaml.safe_load(Path("saved.yaml").read_text())["network"]["init_args"]["width"] == 4
    assert main(["fit", "-c", "saved.yaml", "--trainer.devices=1"]) == 0
    assert are_equal(first, weights("artifacts/train/model.ckpt"))
    assert len(list(Path("runs").iterdir())) == 2


def test_overlays_are_merged_from_left_to_right(workspace, capsys):
    Path("a.yaml").write_text("trainer: {max_epochs: 7}\nmodel: {init_args: {optimizer: {init_args: {lr: 0.5}}}}\n")
    Path("b.yaml").write_text("trainer: {max_epochs: 9}\n")
    configs = ["-c", "configs/train.yaml", "-c", "a.yaml", "-c", "b.yaml"]
    with pytest.raises(SystemExit):
        main(["fit", *configs, "--data.init_args.batch_size=5", "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    optimizer = config["model"]["init_args"]["optimizer"]["init_args"]
    assert config["trainer"]["max_epochs"] == 9
    assert optimizer["lr"] == 0.5
    assert optimizer["weight_decay"] == 0.05
    assert config["data"]["init_args"]["batch_size"] == 5


def test_the_seed_determines_the_result(workspace):
    results = []
    for seed in (0, 0, 1):
        assert main(["fit", *SMALL, "--trainer.max_epochs=1", f"--seed_everything={seed}"]) == 0
        results.append(weights("artifacts/train/model.ckpt"))
        for path in Path("runs").glob("*/*.ckpt"):
            path.unlink()
    assert are_equal(results[0], results[1])
    assert not are_equal(results[0], results[2])


@pytest.mark.parametrize(("verb", "split"), [("validate", "val"), ("test", "test")])
def test_scores_of_the_published_model(verb, split, in_trained, capsys):
    assert main([verb, "--network.init_args.width=8"]) == 0
    assert f"{split}/accuracy" in capsys.readouterr().out


def test_a_torchvision_network_trains(workspace):
    assert main(["fit", "--network=torchvision.models.resnet18", "--trainer.fast_dev_run=1"]) == 0


def test_help_lists_the_essential_options_first(workspace, capsys):
    with pytest.raises(SystemExit) as done:
        main(["fit", "--help"])
    assert not done.value.code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines[0]) < 100
    assert any("--trainer.max_epochs" in line for line in lines[:8])


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--trainer.max_epoch=3"], "unknown key 'trainer.max_epoch' (did you mean 'max_epochs'?)"),
        (["-c", "overlay.yaml"], "unknown key 'lrr' (did you mean 'lr'?)"),
        (["--data.init_args.batchsize=3"], "did you mean 'batch_size'?"),
        (["--data.init_args.augment.horizontal_flop=true"], "did you mean 'horizontal_flip'?"),
        (["--network.init_args.widht=3"], "did you mean 'width'?"),
        (["--trainer.max_epochs=abc"], "trainer.max_epochs: expected int; got abc"),
        (["--data.init_args.batch_size=abc"], "data.batch_size: expected int; got abc"),
        (["-c", "nope.yaml"], "expected a config file at nope.yaml"),
        (["--network=leyden.models.ResNot"], "has no attribute 'ResNot'"),
        (["--data.init_args.folder=nowhere"], "expected nowhere/report.json; not found; run `leyden prepare` first"),
        (["--network.init_args.width=-3"], "negative dimension -3"),
        (["--trainer.limit_train_batches=2.5"], "limit_train_batches"),
        (["--trainer.overfit_batches=2"], "expected overfit_batches: 0"),
        (["--trainer.max_epochs=-1"], "set trainer.max_epochs or max_steps"),
        (["--ckpt_path=nowhere.ckpt"], "expected no --ckpt_path; got nowhere.ckpt"),
        (["--model=tests.stages.test_train.CustomModule"], "CustomModule has no validation_step"),
    ],
)
def test_mistakes_are_one_line_errors(workspace, error_of, args, expected):
    Path("overlay.yaml").write_text("model: {init_args: {optimizer: {init_args: {lrr: 3}}}}\n")
    config = ["-c", "configs/train.yaml"]
    assert expected in error_of("fit", *config, *args)
    assert not Path("runs").exists()


@pytest.mark.filterwarnings("ignore:Encountered `nan`", "ignore:`ModelCheckpoint")
@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--trainer.callbacks=LearningRateMonitor"], "LearningRateMonitor"),
        (["--trainer.val_check_interval=0.3"], "expected a last validation at the end of the epoch"),
        (["--trainer.val_check_interval=5", "--trainer.check_val_every_n_epoch=null"], "expected validations by epoch"),
        (["--trainer.limit_val_batches=0"], "got trainer.limit_val_batches: 0"),
        (["--model.optimizer.lr=1000"], "expected a finite val/loss in the best epoch"),
    ],
)
def test_what_cannot_be_published_is_a_one_line_error(workspace, error_of, args, expected):
    assert expected in error_of("fit", *SMALL, "--trainer.max_epochs=1", *args)
    assert not Path("artifacts/train").exists()


def test_a_training_that_stopped_early_is_not_continued(workspace):
    """The same command publishes the same result again."""
    options = ("=EarlyStopping", ".monitor=val/loss", ".patience=1", ".min_delta=9")
    args = [f"--trainer.callbacks{option}" for option in options]
    for _ in range(2):
        assert main(["fit", *SMALL, "--trainer.max_epochs=9", *args]) == 0
        assert len(Path("artifacts/train/curves.csv").read_text().splitlines()) == 1 + 2


class TorchLoaderData(ImageData):
    """Uses torch's DataLoader, which cannot start in the middle of an epoch."""

    def train_dataloader(self) -> DataLoader:
        loader = super().train_dataloader()
        return DataLoader(loader.dataset, sampler=loader.sampler, batch_size=None)


@pytest.mark.parametrize(
    ("data", "num_saves"), [("leyden.ImageData", 2 * 18), ("tests.stages.test_train.TorchLoaderData", 2)]
)
def test_with_torchs_dataloader_checkpoints_are_saved_only_at_an_epochs_end(workspace, monkeypatch, data, num_saves):
    steps = []
    monkeypatch.setattr(
        "leyden.training.resumption.Resume.save", lambda self, trainer: steps.append(trainer.global_step)
    )
    assert main(["fit", *SMALL, "--trainer.max_epochs=2", "--resume.every_steps=1", f"--data={data}"]) == 0
    assert len(steps) == num_saves
    assert steps[-1] == 36


def test_the_best_epoch_has_the_lowest_loss_or_the_highest_other_score():
    modes = [RunCheckpoint("val/loss"), RunCheckpoint("val/accuracy"), RunCheckpoint("val/accuracy", "min")]
    assert [checkpoint.mode for checkpoint in modes] == ["min", "max", "min"]


def test_double_precision(workspace):
    assert main(["fit", *SMALL, "--trainer.precision=64-true", "--trainer.fast_dev_run=1"]) == 0


def test_checkpoints_that_do_not_fit_are_one_line_errors(in_trained, error_of, tmp_path):
    assert "expected a checkpoint at nope.ckpt" in error_of("test", "--ckpt_path=nope.ckpt")
    assert "expected a checkpoint of network" in error_of("test", "--network.init_args.width=16")
    (tmp_path / "junk.ckpt").write_bytes(b"junk")
    assert "damaged" in error_of("test", f"--ckpt_path={tmp_path}/junk.ckpt")


def test_a_new_run_reports_what_changed(workspace, trained, monkeypatch, caplog):
    short = [*SMALL, "--trainer.max_epochs=1"]

    def start(*args: str) -> str:
        caplog.clear()
        assert main(["fit", *short, *args]) == 0
        return next(message for message in caplog.messages if message.startswith("fit: starts in"))

    assert start().endswith("the first run here")
    (first,) = Path("runs").iterdir()
    assert start("--model.label_smoothing=0.2").endswith(
        f"since {first} changed: model.init_args.label_smoothing: null -> 0.2"
    )
    monkeypatch.setattr("leyden.training.run_folder.hash_sources", lambda config: "other")
    assert start("--model.label_smoothing=0.2").endswith(" changed: the code")
    Path("artifacts/prepare").unlink()
    assert main(["prepare", "--seed=5", f"--data={trained / 'data'}"]) == 0
    assert start("--model.label_smoothing=0.2").endswith(" changed: the data")


def test_the_fingerprint_depends_on_config_data_and_code(monkeypatch, tmp_path):
    first = Run({"a": 1}, "data").fingerprint
    assert Run({"a": 1}, "data").fingerprint == first
    assert first not in (Run({"a": 2}, "data").fingerprint, Run({"a": 1}, "other").fingerprint)
    shutil.copytree(Path(leyden.__file__).parent, tmp_path / "leyden")
    monkeypatch.setattr(run_folder.leyden, "__file__", str(tmp_path / "leyden/__init__.py"))
    assert Run({"a": 1}, "data").fingerprint == first
    for name, changes_fingerprint in (
        ("ops/crop.cpp", True),
        ("data/replica.py", True),
        ("models/resnet.py", True),
        ("stages/report/card.py", False),
    ):
        with open(tmp_path / "leyden" / name, "a") as file:
            file.write("\n")
        assert (Run({"a": 1}, "data").fingerprint != first) == changes_fingerprint, name
        first = Run({"a": 1}, "data").fingerprint


def test_the_fingerprint_depends_on_the_code_of_a_custom_network(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "your_package.py").write_text("class YourNet: ...")
    importlib.import_module("your_package")
    config = {"trainer": {"callbacks": [{"class_path": "your_package.YourNet"}]}}
    before = Run(config, "data").fingerprint
    (tmp_path / "your_package.py").write_text("class YourNet: edited = True")
    assert Run(config, "data").fingerprint != before


def test_a_custom_network_is_imported_from_the_working_directory(trained, workspace):
    Path("your_net.py").write_text("""
from torch import nn

class YourNet(nn.Sequential):
    def __init__(self, num_classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))
""")
    leyden = [sys.executable, str(REPO / "src/leyden")]
    subprocess.run(
        [*leyden, "fit", "-c", "configs/train.yaml", "--network=your_net.YourNet", "--trainer.max_epochs=1"], check=True
    )
    subprocess.run([*leyden, "predict", "artifacts/train/model.ckpt", str(trained / "data")], check=True)
    assert len(Path("predictions.csv").read_text().splitlines()) == 1798


FIT = [sys.executable, "-m", "leyden", "fit", *SMALL, "--trainer.max_epochs=12"]


def epochs_on_disk() -> int:
    return max((path.read_text().count("\n") - 1 for path in Path("runs").glob("*/curves.csv")), default=0)


def start_and_stop(num_epochs: int, stop_signal: int) -> subprocess.Popen[str]:
    """Start a training, and send it a signal after that many more epochs are on disk."""
    target = epochs_on_disk() + num_epochs
    process = subprocess.Popen(FIT, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while epochs_on_disk() < target:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
        time.sleep(0.005)
    process.send_signal(stop_signal)
    process.communicate(timeout=180)
    return process


def test_a_training_stopped_by_each_signal_ends_bit_identical(workspace):
    """The same command after each signal leads to the weights and curves of an uninterrupted run."""
    for stop_signal, exit_code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9), (signal.SIGINT, 130)):
        assert start_and_stop(2, stop_signal).returncode == exit_code
        assert not Path("artifacts/train").exists()
    done = subprocess.run(FIT, text=True, capture_output=True, check=True)
    assert "fit: continues in" in done.stderr
    assert "epoch   1/12" not in done.stderr
    resumed, curves = weights("artifacts/train/model.ckpt"), Path("artifacts/train/curves.csv").read_text()
    Path("runs").rename("interrupted")
    subprocess.run(FIT, check=True, capture_output=True)
    assert curves == Path("artifacts/train/curves.csv").read_text()
    assert len(curves.splitlines()) == 13
    assert are_equal(resumed, weights("artifacts/train/model.ckpt"))


def test_a_second_training_of_the_same_run_waits_for_the_first(workspace):
    """A training whose `dvc repro` was killed continues as an orphan; the next one resumes from its checkpoint."""
    from filelock import FileLock

    start_and_stop(4, signal.SIGKILL)
    (folder,) = Path("runs").iterdir()
    with FileLock(folder / ".lock"):
        process = subprocess.Popen(FIT, text=True, stderr=subprocess.PIPE)
        assert process.stderr is not None
        pid = (folder / "pid").read_text()
        message = next(line for line in process.stderr if "fit: " in line)
        assert message == f"fit: waits for process {pid}, which trains in {folder}; stop it to take over\n"
        assert process.poll() is None
    assert "fit: continues in" in process.communicate(timeout=120)[1]
    assert process.returncode == 0
    assert len(Path("artifacts/train/curves.csv").read_text().splitlines()) == 13
