"""Two runs side by side."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from leyden.errors import UserError
from leyden.files import write_json
from tests.stages.test_report import LABELS, Artifacts, Elements


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Artifacts, Artifacts]:
    """The other run and this one, of the same data; the other made 9 errors more."""
    for name in ("other", "this"):
        (tmp_path / name).mkdir()
    return Artifacts(tmp_path / "other", LABELS, num_errors=11), Artifacts(tmp_path / "this", LABELS, num_errors=2)


def compared(runs: tuple[Artifacts, Artifacts]) -> str:
    other, this = runs
    this.report(against=other.root)
    return Elements(this.written("against.html")).text


def test_a_gain_that_is_no_noise_is_called_so(
    runs: tuple[Artifacts, Artifacts], capsys: pytest.CaptureFixture[str]
) -> None:
    text = compared(runs)
    verdict = "More than noise: accuracy 8.3% there, 83.3% here, +75.0 points (+50.0 to +100.0); 9 gained and 0 lost of 12 test examples"
    assert f"Two runs compared {verdict}, McNemar's exact p 0.0039." in text and verdict in capsys.readouterr().out
    assert verdict in Elements(runs[1].written("index.html")).text
    assert "accuracy 8.3% 55.2% to 95.3% 83.3% 55.2% to 95.3% +75.0 points better" in text
    assert (
        "Class Other This Change Lost Gained ant 0.0% 50.0% +50.0 0 2 bee 0.0% 100.0% +100.0 0 4 cat 25.0% 100.0% +75.0 0 3"
        in text
    )
    assert text.count("The same in both runs.") == 2


def test_as_many_lost_as_gained_is_noise(runs: tuple[Artifacts, Artifacts]) -> None:
    other, this = runs
    other.guess = np.where(np.arange(12) >= 10, 0, this.truth)
    other.write_evaluate(other.root / "evaluate")
    assert (
        "No more than noise: accuracy 83.3% there, 83.3% here, 0 points (-33.3 to +33.3); 2 gained and 2 lost"
        in compared(runs)
    )


def test_settings_code_curves_and_files_are_compared(runs: tuple[Artifacts, Artifacts]) -> None:
    other, this = runs
    for artifacts, rate, version in ((other, 0.1, "1"), (this, 0.2, "2")):
        config = {"model": {"lr": rate, "betas": [0.9, 0.99]}, "seed": 0}
        (artifacts.root / "train/config.yaml").write_text(yaml.safe_dump(config))
        provenance = {"code_version": version, "data_hash": "abc", "versions": {"torch": "2.9"}}
        write_json(artifacts.root / "train/provenance.json", provenance)
    exported = (this.root / "export/report.json").read_text()
    (this.root / "export/report.json").write_text(
        exported.replace('"latency_ms_b1_p50": 0.5', '"latency_ms_b1_p50": 0.25')
    )
    text = compared(runs)
    assert (
        "Setting Other This model.lr 0.1 0.2 Data, code and versions What the runs do not share Setting Other This code version 1 2"
        in text
    )
    assert "onnx 2.00 MB 2.00 MB 0.5 ms 0.25 ms 2.0\u00d7 as fast" in text
    charts = [attrs["aria-label"] for tag, attrs in Elements(this.written("against.html")).tags if tag == "svg"]
    assert (
        charts[0]
        == "loss by epoch: train from 2 to 1, val from 1 to 0.5, train, other from 2 to 1, val, other from 1 to 0.5"
    )


@pytest.mark.parametrize("change", ["hash", "content", "labels"])
def test_other_test_examples_are_said_and_not_paired(runs: tuple[Artifacts, Artifacts], change: str) -> None:
    other, _ = runs
    if change == "hash":
        other.change_report(data_hash="other")
    elif change == "content":
        for artifacts, sha256 in zip(runs, "ab", strict=True):
            manifest = artifacts.root / "prepare/manifest.csv"
            manifest.write_text(re.sub("(?m),test,,", f",test,{sha256},", manifest.read_text()))
    else:
        other.truth = other.truth[::-1]
        other.write_evaluate(other.root / "evaluate")
    text = compared(runs)
    assert "Not to be tested: the runs have different test examples (accuracy" in text and "McNemar" not in text
    assert "The test examples are not the same" in text and "Lost" not in text


def test_more_training_data_leaves_the_test_examples_the_same(runs: tuple[Artifacts, Artifacts]) -> None:
    runs[0].change_report(data_hash="other")
    for artifacts in runs:
        manifest = artifacts.root / "prepare/manifest.csv"
        manifest.write_text(re.sub("(?m),test,,", ",test,abc,", manifest.read_text()))
    assert "More than noise" in compared(runs)


def test_a_run_of_other_classes_without_training_or_export_is_compared(tmp_path: Path) -> None:
    for name in ("other", "this"):
        (tmp_path / name).mkdir()
    runs = Artifacts(tmp_path / "other", [*LABELS, "dog"]), Artifacts(tmp_path / "this", LABELS)
    for name in ("train", "export", "explain"):
        shutil.rmtree(runs[0].root / name)
    text = compared(runs)
    assert (
        "dog 100.0% \u2013 \u2013" in text
        and "The runs share no curve." in text
        and "onnx \u2013 2.00 MB \u2013 0.5 ms \u2013" in text
    )


def test_what_is_no_run_is_refused_in_one_line(runs: tuple[Artifacts, Artifacts]) -> None:
    other, this = runs
    with pytest.raises(
        UserError,
        match=r"report.against must be a run's artifacts folder; got .*nowhere, without prepare/report.json; give a copy",
    ):
        this.report(against=this.root / "nowhere")
    (other.root / "evaluate/predictions.csv").unlink()
    with pytest.raises(UserError, match=r"without evaluate/predictions.csv"):
        compared(runs)
    assert not (this.root / "report").exists()
