"""The report of a LightningModule of the user's: it shows what was recorded, and asks for nothing else."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from leyden import UserError
from leyden.cli import main
from leyden.files import read_json, write_json
from leyden.outputs.number_format import UNKNOWN
from leyden.stages.report import report
from leyden.stages.report.formatting import TIMES
from leyden.stages.report.training import group_curves
from tests.stages.report.fake_artifacts import LABELS, METHOD_METRICS, STAGES, Artifacts, Elements, write_rows

HERE = "tests.training.foreign_modules"


class OwnArtifacts:
    """What `leyden fit`, and on request later stages, write for a module of the user's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.train, self.evaluate, self.export, self.explain = (root / name for name in STAGES[1:])
        self.train.mkdir()
        metrics = {"val_acc": 0.75, "g_loss": 1.5, "epoch": 1, "parameters": 4321, "seconds": 12.3}
        write_json(self.train / "metrics.json", metrics)
        columns = ["epoch", "step", "learning_rate", "learning_rate_2", "train_loss", "val_acc", "val/iou", "g_loss"]
        rows = [[0, 5, 0.1, 0.1, 2.0, 0.5, 0.25, 3.0], [1, 10, 0.1, 0.1, 1.0, 0.75, 0.5, 1.5]]
        write_rows(self.train / "curves.csv", columns, rows)
        self.configure(model={"class_path": "my_package.nets.GAN"}, data={"class_path": "my_package.Faces"})
        kept = {"reason": "epoch 2 of 2 has the highest val_acc (0.7500)", "warnings": ["val_acc was still rising"]}
        write_json(self.train / "provenance.json", {"code_version": "1.2", "data_hash": "", "kept_epoch": kept})

    def configure(self, **config: Any) -> None:
        config = {"checkpoint": {"monitor": "val_acc"}, "network": None, "note": "</pre>"} | config
        (self.train / "config.yaml").write_text(yaml.safe_dump(config))

    def write_evaluate(self, **metrics: Any) -> None:
        self.evaluate.mkdir()
        write_json(self.evaluate / "metrics.json", metrics | {"confidence_level": 0.9})

    def write_export(self) -> None:
        self.export.mkdir()
        row = {"format": "onnx", "precision": "fp32", "file": "model.onnx", "bytes": 2_000_000, "status": "checked"}
        row |= {"reason": "", "max_abs_diff": 2e-6, "examples": 16, "latency_ms_b1_p50": 0.5}
        eager = {"format": "eager", "precision": "fp32", "file": "", "bytes": 4000, "status": "checked", "reason": ""}
        skipped = {"format": "onnx", "precision": "int8", "file": "", "status": "skipped", "reason": "in fp32 only"}
        write_json(self.export / "report.json", [row, skipped, eager | {"latency_ms_b1_p50": 4.0}])

    def write_explain(self) -> None:
        (self.explain / "maps").mkdir(parents=True)
        metrics = METHOD_METRICS | {"randomisation_similarity": 0.125, "examples": 12}
        write_json(self.explain / "metrics.json", {"saliency": metrics})
        write_rows(self.explain / "summary.csv", ["method", "verdict", "reason"], [["saliency", "trust here", "good"]])
        write_rows(self.explain / "influence.csv", ["file", "training_row"], [])
        columns = ["path", "label", "prediction", "confidence", "chosen", "file"]
        write_rows(self.explain / "examples.csv", columns, [["test example 3", "", "1.25", "", "large", "maps/00.png"]])
        for name in ("00.png", "00-saliency.png"):
            Image.fromarray(np.full((160, 120, 3), 99, dtype=np.uint8)).save(self.explain / "maps" / name)

    def report(self, **options: Any) -> tuple[Elements, str]:
        """Write the report; return index.html and the model card."""
        folders: dict[str, Any] = {name: self.root / name for name in STAGES}
        report(**folders, out=self.root / "report", **options)
        page, card = ((self.root / "report" / name).read_text() for name in ("index.html", "model_card.md"))
        return Elements(page), card


@pytest.fixture
def own(tmp_path: Path) -> OwnArtifacts:
    return OwnArtifacts(tmp_path)


def test_a_trained_module_alone_has_a_page_that_names_what_was_not_run(own: OwnArtifacts, capsys: Any) -> None:
    page, card = own.report()
    assert "GAN A LightningModule of this project." in page.text
    assert "Module my_package.nets.GAN Data my_package.Faces" in page.text
    assert "val_acc 0.75 monitored; epoch 2 of 2, whose weights were kept parameters 4,321 trained in 12 s" in page.text
    assert "epoch 2 of 2 has the highest val_acc (0.7500)" in page.text
    assert "Val_acc was still rising." in page.text
    for verb in ("evaluate", "export", "explain"):
        assert f"run leyden {verb} to add this section" in page.text
    assert "not known: the data module has no data_hash" in page.text
    assert card.startswith("---\nlicense: mit\nlibrary_name: leyden\ntags:")
    assert "- Module: my\\_package.nets.GAN" in card
    assert not (own.root / "report/data.html").exists()
    assert "report: GAN: epoch 2 of 2 has the highest val_acc (0.7500); not evaluated\n" in capsys.readouterr().out


def test_every_logged_metric_has_a_chart(own: OwnArtifacts) -> None:
    page, _ = own.report()
    labels = [label for label in page.attributes("svg", "aria-label") if label]
    assert labels == [
        "loss by epoch: train from 2 to 1",
        "acc by epoch: val from 0.5 to 0.75",
        "iou by epoch: val from 0.25 to 0.5",
        "g_loss by epoch: logged from 3 to 1.5",
    ]


def test_names_with_a_slash_and_with_a_prefix_are_grouped_alike() -> None:
    rows = [
        {"epoch": "1", "step": "9", "learning_rate": "0.1", "train/loss": "2", "val_loss": "3", "valve": "4", "x": ""}
    ]
    assert group_curves(rows) == {"loss": {"train": [(1, 2)], "val": [(1, 3)]}, "valve": {"logged": [(1, 4)]}}


def test_scores_are_shown_as_they_were_logged(own: OwnArtifacts) -> None:
    own.write_evaluate(test_acc=95.5, error=0.25, error_low=0.125, error_high=0.5, examples=40, errors=3, bad=None)
    page, card = own.report()
    assert "test_acc 95.5 - error 0.25 0.125 to 0.5 errors 3 - bad - -" in page.text.replace(UNKNOWN, "-")
    assert "for each of 40 test examples" in page.text
    assert "error 0.25 90% interval 0.125 to 0.5" in page.text  # a tile
    assert "| error | 0.25 | 0.125 to 0.5 |" in card


def test_without_intervals_the_table_has_no_column_for_them(own: OwnArtifacts) -> None:
    own.write_evaluate(test_acc=1.0, required={"test_acc": 0.9})
    page, _ = own.report()
    assert "Score Value test_acc 1 The bounds in evaluate.require were met: test_acc 0.9." in page.text


def test_exported_files_are_listed(own: OwnArtifacts) -> None:
    own.write_export()
    page, card = own.report()
    assert f"onnx fp32 model.onnx checked 2.00 MB 2.0e-06 16 0.5 ms 8.0{TIMES}" in page.text
    assert "Not written: onnx int8 (in fp32 only)." in page.text
    assert page.text.count("int8") == 1  # not in the table
    assert f"fastest file 8.0{TIMES} onnx; speedup over eager PyTorch for one example" in page.text
    assert f"| onnx fp32 | model.onnx | 2.00 MB | 2.0e-06 | 0.5 ms | 8.0{TIMES} |" in card


def test_maps_are_shown(own: OwnArtifacts) -> None:
    own.write_explain()
    page, _ = own.report()
    assert "saliency trust here good 0.250 0.500 0.125 12" in page.text
    assert "1.25 for test example 3" in page.text
    assert page.attributes("img", "alt") == ["Inputs of test example 3", "Map of saliency for test example 3"]


def test_a_title_replaces_the_name(own: OwnArtifacts) -> None:
    page, card = own.report(title="Faces", license="BSD-3-Clause")
    assert page.text.startswith("Faces")
    assert "\n# Faces\n" in card
    assert "- License: BSD-3-Clause" in card


def test_a_comparison_is_refused_in_one_line(own: OwnArtifacts) -> None:
    with pytest.raises(UserError, match=r"^expected no --against, .* a LightningModule of your own; leave it out"):
        own.report(against=own.root / "other")


@pytest.mark.parametrize("trained", [False, True])
def test_without_prepared_data_a_model_that_needs_them_has_no_report(own: OwnArtifacts, trained: bool) -> None:
    own.configure(model={"class_path": "leyden.Classifier"}, network={"class_path": "leyden.models.ResNet"})
    if not trained:
        shutil.rmtree(own.train)
    with pytest.raises(UserError, match=r"report\.json; not found; run `leyden prepare` first"):
        own.report()


def test_a_network_left_over_from_a_config_does_not_matter(own: OwnArtifacts, tmp_path: Path) -> None:
    own.configure(model={"class_path": "my_package.nets.GAN"}, network={"class_path": "leyden.models.ResNet"})
    assert own.report()[0].text.startswith("GAN")
    (tmp_path / "prepared").mkdir()
    (Artifacts(tmp_path / "prepared", LABELS).root / "prepare").rename(tmp_path / "prepare")
    assert own.report()[0].text.startswith("GAN")


@pytest.mark.parametrize(("data_hash", "has_data_page"), [("abc", True), ("other", False), ("", False)])
def test_prepared_data_has_a_page_if_the_module_was_trained_on_it(
    tmp_path: Path, data_hash: str, has_data_page: bool
) -> None:
    (tmp_path / "prepared").mkdir()
    prepared = Artifacts(tmp_path / "prepared", LABELS)
    own = OwnArtifacts(tmp_path)
    (prepared.root / "prepare").rename(tmp_path / "prepare")
    provenance = read_json(own.train / "provenance.json", "fit")
    write_json(own.train / "provenance.json", provenance | {"data_hash": data_hash})
    page, card = own.report()
    assert (tmp_path / "report/data.html").exists() == has_data_page
    assert ("data.html" in page.attributes("a", "href")) == has_data_page
    assert ("was not checked for duplicates" in card) != has_data_page


def test_damaged_results_end_in_one_line(own: OwnArtifacts) -> None:
    own.write_export()
    write_json(own.export / "report.json", [{"format": "onnx"}])
    with pytest.raises(UserError, match="expected results as the stages write them"):
        own.report()


@pytest.mark.filterwarnings("ignore:Attribute 'activation' is an instance of `nn.Module`")
@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_a_module_from_training_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = [f"--model={HERE}.Classifier", f"--data={HERE}.NoisyImageData", "--checkpoint.monitor=val_acc"]
    assert main(["fit", "--trainer.max_epochs=1", *args]) == 0
    assert main(["evaluate"]) == 0
    assert main(["report"]) == 0
    page = Elements(Path("artifacts/report/index.html").read_text())
    test_acc = read_json(Path("artifacts/evaluate/metrics.json"), "evaluate")["test_acc"]
    assert page.text.startswith("Classifier")
    assert f"test_acc {test_acc:.4g} on the test data" in page.text
    assert "parameters 1,108" in page.text
