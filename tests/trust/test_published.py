"""A project's own network class loads from every file that the project has published."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from leyden.cli import main
from tests.trust.tampering import NETWORK, edit_checkpoint

CKPT = Path("artifacts/train/model.ckpt")
FIT = ["fit", "--trainer.max_epochs=1", "--network=mine.Net", "--trainer.precision=32-true"]


@pytest.fixture
def project(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has trained its own network class, from a file in the current folder."""
    Path("mine.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(".")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert main(FIT) == 0
    return workspace


def test_a_project_loads_its_own_network_class_from_every_file_it_published(project, trained, error_of):
    formats = json.dumps({"safetensors": ["fp32"], "torchscript": ["fp32"], "pt2": ["fp32"]})
    assert main(["export", "--out=elsewhere", f"--formats={formats}"]) == 0
    shutil.copy(CKPT, "copy.ckpt")
    image = str(trained / "data/3")
    for model in (
        CKPT,
        "copy.ckpt",
        "elsewhere/model.safetensors",
        "elsewhere/model.torchscript",
        "elsewhere/model.pt2",
    ):
        assert main(["predict", str(model), image]) == 0, model
    assert main([*FIT, "--seed_everything=1"]) == 0  # files published earlier are still this project's
    assert main(["predict", "copy.ckpt", image]) == 0
    shutil.copy(CKPT, "copy.ckpt")
    shutil.rmtree("artifacts/published")  # as in a clone after `dvc pull`
    assert main(["predict", "copy.ckpt", image]) == 0
    edited = edit_checkpoint(CKPT, Path("edited.ckpt"), lambda checkpoint: checkpoint.update(epoch=99))
    assert "holds the network mine.Net, which is code; add --trust" in error_of("predict", str(edited), image)
    for verb in (
        ["predict", str(edited), image],
        ["compare", str(CKPT), str(edited)],
        ["evaluate", f"--model={edited}", "--robustness=[]"],
    ):
        assert main([*verb, "--trust"]) == 0, verb


def test_a_teacher_may_name_classes_that_the_config_names_or_trusts(project, error_of):
    old = edit_checkpoint(CKPT, Path("old.ckpt"), lambda checkpoint: checkpoint.update(epoch=99))
    fit = ["fit", "--trainer.max_epochs=1", "--trainer.precision=32-true", f"--model.init_args.teacher.path={old}"]
    assert main([*fit, "--network=mine.Net"]) == 0
    assert "holds the network mine.Net, which is code" in error_of(*fit, "--network.init_args.width=8")
    assert main([*fit, "--network.init_args.width=8", "--model.init_args.teacher.trust=true"]) == 0
