"""Any LightningModule and LightningDataModule: trained, resumed exactly after kills, published and loaded."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import leyden
from leyden import UserError
from leyden.cli import main
from leyden.models.module_checkpoint import load_data_module, load_module
from tests.conftest import REPO
from tests.training import foreign_modules
from tests.training.foreign_modules import Classifier
from tests.training.test_interruption import differences, run_killed

# Of the users' code, which is not ours to change.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Attribute 'activation' is an instance of `nn.Module`"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
]
HERE = "tests.training.foreign_modules"
IMAGES = f"--data={HERE}.NoisyImageData"
CLASSIFIER = [f"--model={HERE}.Classifier", IMAGES, "--checkpoint.monitor=val_acc"]
PARTS = [f"--model.{name}={HERE}.{name.title()}" for name in ("encoder", "decoder")]
GAN_ARGS = [f"--model={HERE}.GAN", IMAGES, "--checkpoint.monitor=null"]
MODULES = {
    "classifier": CLASSIFIER,
    "autoencoder": [
        f"--model={HERE}.AutoEncoder",
        *PARTS,
        "--model.encoder.size=3",
        "--model.decoder.size=3",
        IMAGES,
        "--checkpoint.monitor=train_loss",
    ],
    "gan": GAN_ARGS,
    "regressor": [f"--model={HERE}.Regressor", f"--data={HERE}.Table", "--checkpoint.monitor=val/rmse"],
    "finetuned": [f"--model={HERE}.FineTuned", IMAGES, "--data.count=40"],
    "workers": [*CLASSIFIER, "--data.num_workers=2"],
    "alternate": [*CLASSIFIER, "--trainer.check_val_every_n_epoch=2"],
    "steps": [*CLASSIFIER, "--trainer.max_steps=11"],
}
NAMED = [f"{HERE}.Classifier", "torch.nn.ReLU"]  # the classes of the classifier
INPUTS = {"gan": (2, 8), "regressor": (2, 6)}
RESUMED = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return tmp_path


def fit(*args: str) -> None:
    assert main(["fit", "--trainer.max_epochs=2", *args]) == 0


def results_of(folder: Path) -> dict:
    (run,) = (folder / "runs").iterdir()
    last, best = (torch.load(path, weights_only=True) for path in (run / "last.ckpt", folder / MODEL))
    return {
        "last": {key: last[key] for key in RESUMED},
        "best": best["state_dict"],
        "curves": (folder / "artifacts/train/curves.csv").read_text(),
    }


MODEL = Path("artifacts/train/model.ckpt")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "steps" else []) for name in MODULES]
)
def test_killed_at_the_ends_of_epochs_it_ends_with_the_same_result_and_loads(name, folder):
    killed, whole = folder / "killed", folder / "whole"
    killed.mkdir()
    whole.mkdir()
    args = ["--trainer.max_epochs=4", *MODULES[name]]
    assert run_killed([("resumable", 1), ("resumable", 2)], args, killed, whole) == [-9, -9, 0]
    assert differences(results_of(killed), results_of(whole)) == []
    curves = (whole / "artifacts/train/curves.csv").read_text().splitlines()
    assert len(curves) == 1 + (3 if name == "steps" else 4)
    if name == "regressor":  # the scheduler has acted, before and after a kill
        assert len({line.split(",")[2] for line in curves[1:]}) >= 3
    module = leyden.load(whole / MODEL, trust=True)
    assert not any(part.training for part in module.modules())
    x = torch.ones(INPUTS.get(name, (2, 1, 8, 8)))
    expected = type(module)(**arguments_of(name))
    expected.load_state_dict(torch.load(whole / MODEL, weights_only=True)["state_dict"])
    assert torch.equal(module(x), expected.eval()(x))


def test_a_loader_with_a_state_resumes_within_an_epoch(folder):
    killed, whole = folder / "killed", folder / "whole"
    killed.mkdir()
    whole.mkdir()
    args = [f"--model={HERE}.Regressor", f"--data={HERE}.PositionTable", "--checkpoint.monitor=val/rmse"]
    args += ["--trainer.max_epochs=3", "--resume.every_steps=5"]  # of 12 in an epoch
    assert run_killed([("resumable", 2), ("resumable", 2)], args, killed, whole) == [-9, -9, 0]
    assert differences(results_of(killed), results_of(whole)) == []


def arguments_of(name: str) -> dict:
    parts = {"encoder": foreign_modules.Encoder(3), "decoder": foreign_modules.Decoder(3)}
    return parts if name == "autoencoder" else {}


def test_the_checkpoint_names_module_and_data_with_plain_arguments():
    fit(*CLASSIFIER, "--model.hidden_size=12", "--data.count=32")
    checkpoint = torch.load(MODEL, weights_only=True)
    description = checkpoint["leyden"]
    args = {
        "hidden_size": 12,
        "lr": 0.01,
        "activation": {"class_path": "torch.nn.ReLU", "init_args": {"inplace": False}},
    }
    assert description["module"] == {"class_path": f"{HERE}.Classifier", "init_args": args}
    data = {"count": 32, "batch_size": 16, "num_workers": 0}
    assert description["data"] == {"class_path": f"{HERE}.NoisyImageData", "init_args": data}
    assert description["provenance"]["config"]["trainer"]["max_epochs"] == 2
    assert checkpoint["hyper_parameters"] == {"hidden_size": 12, "lr": 0.01}  # activation is an object
    assert not {"optimizer_states", "loops", "callbacks"} & checkpoint.keys()
    assert load_data_module(MODEL).hparams.count == 32  # this project has published the file
    assert Classifier.load_from_checkpoint(MODEL, weights_only=True).hparams.hidden_size == 12


def test_scores_are_published_under_their_own_names():
    fit(*CLASSIFIER)
    metrics = json.loads(Path("artifacts/train/metrics.json").read_text())
    assert {"train_loss", "val_loss", "val_acc", "epoch", "parameters"} <= metrics.keys()
    rows = Path("artifacts/train/curves.csv").read_text().splitlines()
    assert rows[0] == "epoch,step,learning_rate,train_loss,val_acc,val_loss"
    kept = json.loads(Path("artifacts/train/provenance.json").read_text())["kept_epoch"]
    assert "has the highest val_acc" in kept["reason"]


def test_without_a_monitor_the_last_epoch_is_published():
    fit(*GAN_ARGS)
    assert torch.load(MODEL, weights_only=True)["epoch"] == 1
    columns = Path("artifacts/train/curves.csv").read_text().splitlines()[0]
    assert columns == "epoch,step,learning_rate,learning_rate_2,d_loss,g_loss"
    Path("saved.yaml").write_bytes(Path("artifacts/train/config.yaml").read_bytes())
    assert main(["fit", "-c", "saved.yaml"]) == 0  # also a null is part of the config
    assert torch.load(MODEL, weights_only=True)["epoch"] == 1


def test_a_file_of_unknown_origin_is_loaded_only_with_trust(folder):
    fit(*CLASSIFIER)
    other = folder / "other"
    other.mkdir()
    os.chdir(other)
    path = folder / MODEL
    with pytest.raises(UserError, match=r"holds the class tests\.training\.foreign_modules\.Classifier, which is code"):
        leyden.load(path)
    assert isinstance(leyden.load(path, trust=True), Classifier)
    assert isinstance(load_module(path, allowed_class_paths=NAMED), Classifier)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c["leyden"]["module"]["init_args"].update(activation="os.system"), "holds the class os.system"),
        (lambda c: c["leyden"]["module"].update(class_path="os.system"), "holds the class os.system"),
        (lambda c: c["leyden"]["module"].update(class_path=3), "expected the class_path and init_args of a Lightning"),
        (lambda c: c["leyden"].pop("data"), "expected the class_path and init_args of a LightningDataModule"),
        (lambda c: c["leyden"]["module"]["init_args"].update(depth=3), "it cannot be built"),
        (lambda c: c["leyden"]["module"]["init_args"].update(hidden_size=9), "is .16, 64. instead of"),
        (lambda c: c["state_dict"].pop("model.1.bias"), "it lacks model.1.bias"),
        (lambda c: c["state_dict"]["model.1.bias"].fill_(float("nan")), "hold NaN or infinity"),
    ],
)
def test_a_damaged_or_edited_file_ends_in_one_line(change, match):
    fit(*CLASSIFIER)
    checkpoint = torch.load(MODEL, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, "edited.ckpt")
    with pytest.raises(UserError, match=match):
        load_module(Path("edited.ckpt"), allowed_class_paths=NAMED)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (CLASSIFIER[:2], "is logged (train_loss, val_acc, val_loss); got monitor: val/loss (did you mean 'val_loss'?)"),
        ([*CLASSIFIER, "--checkpoint.monitor=val_vibe"], "expected checkpoint.mode, since the name val_vibe does not"),
        ([*CLASSIFIER, "--checkpoint.monitor=train_lost", "--checkpoint.mode=min"], "(did you mean 'train_loss'?)"),
        (GAN_ARGS[:2], "expected a validation, by which checkpoint.monitor: val/loss compares epochs; GAN has no"),
        ([*CLASSIFIER, "--trainer.limit_val_batches=0"], "expected batches to train on and to validate"),
    ],
)
def test_a_score_that_is_not_logged_is_one_line(args, expected, error_of):
    assert expected in error_of("fit", "--trainer.max_epochs=2", *args)
    assert not Path("artifacts/train/model.ckpt").exists()


class OwnState(Classifier):
    """Stores an object in its checkpoints."""

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["path"] = Path("somewhere")


class WithLabels(Classifier):
    """Needs labels, which its data may not have."""

    def __init__(self, labels: list[str]) -> None:
        super().__init__()
        self.labels = labels


class LabelledData(foreign_modules.NoisyImageData):
    def __init__(self) -> None:
        super().__init__()
        self.labels = ["a", "b", "c", "d"]


def test_an_object_in_a_checkpoint_is_one_line(error_of):
    error = error_of("fit", *CLASSIFIER[1:], f"--model={__name__}.OwnState", "--trainer.max_epochs=1")
    assert "expected plain values and tensors in a checkpoint; got pathlib.PosixPath" in error


def test_labels_are_passed_from_data_that_has_them(error_of):
    model = f"--model={__name__}.WithLabels"
    fit(*CLASSIFIER[2:], model, f"--data={__name__}.LabelledData")
    checkpoint = torch.load(MODEL, weights_only=True)
    assert checkpoint["leyden"]["labels"] == checkpoint["leyden"]["module"]["init_args"]["labels"] == list("abcd")
    assert leyden.load(MODEL).labels == list("abcd")
    assert "expected NoisyImageData.labels, an argument of WithLabels" in error_of("fit", *CLASSIFIER[1:], model)
    fit(*CLASSIFIER[1:], model, "--model.labels=[q]")
    assert leyden.load(MODEL).labels == ["q"]


def test_settings_of_another_module_are_left_out_with_a_note_unless_they_are_defaults(caplog):
    defaults = Path("configs/train.yaml")
    defaults.parent.mkdir()
    shutil.copy(REPO / defaults, defaults)
    assert main(["fit", "--trainer.max_epochs=1", *CLASSIFIER]) == 0
    assert "left out" not in caplog.text
    assert main(["fit", "-c", str(REPO / defaults), "--trainer.max_epochs=1", *CLASSIFIER]) == 0
    assert "note: left out, since the chosen class does not take it: model.init_args.optimizer" in caplog.text


def test_validate_and_test_score_the_checkpoint_of_the_configured_module(capsys, error_of):
    fit(*CLASSIFIER)
    saved = json.loads(Path("artifacts/train/metrics.json").read_text())
    assert main(["validate", *CLASSIFIER]) == 0
    assert "val_loss" in capsys.readouterr().out
    assert main(["test", *CLASSIFIER]) == 0
    assert "test_acc" in capsys.readouterr().out
    assert saved["val_loss"] > 0
    assert "expected a checkpoint of the configured tests" in error_of("test", *GAN_ARGS)
    assert "differ, model.1.bias first" in error_of("test", *CLASSIFIER, "--model.hidden_size=3")


def test_tune_needs_one_optimizer(capsys, error_of):
    assert main(["tune", *CLASSIFIER]) == 0
    assert "\n--model.init_args.lr=" in capsys.readouterr().out
    assert "expected automatic optimisation with one optimizer" in error_of("tune", *GAN_ARGS)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["regressor", "gan", "autoencoder"])
def test_doctor_checks_what_it_can(name, capsys):
    assert main(["doctor", *MODULES[name]]) == 0
    lines = capsys.readouterr().out.splitlines()
    verdicts = {line[:21].strip(): line[22:30].strip() for line in lines if line[:1].strip()}
    assert verdicts["a step runs"] == verdicts["parameters learn"] == "ok"
    skipped = {check for check, verdict in verdicts.items() if verdict == "skip"}
    assert skipped == ({"learns one batch", "gradient of the loss"} if name == "gan" else set())
