"""The comparison of two runs."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from leyden.errors import UserError
from leyden.files import write_json
from leyden.files.tables import read_table, write_table
from tests.stages.report.fake_artifacts import LABELS, Artifacts, Elements

Runs = tuple[Artifacts, Artifacts]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """The other run and this one, of the same data; the other made 9 errors more."""
    for name in ("other", "this"):
        (tmp_path / name).mkdir()
    return Artifacts(tmp_path / "other", LABELS, num_errors=11), Artifacts(tmp_path / "this", LABELS, num_errors=2)


def compare(runs: Runs) -> str:
    """Return the text of against.html."""
    other, this = runs
    this.report(against=other.root)
    return Elements(this.read("against.html")).text


def set_test_hashes(artifacts: Artifacts, sha256: str) -> None:
    manifest = artifacts.root / "prepare/manifest.csv"
    manifest.write_text(re.sub("(?m),test,,", f",test,{sha256},", manifest.read_text()))


def test_a_significant_gain_is_reported(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    text = compare(runs)
    verdict = (
        "Significant difference: accuracy 8.3% in the other run, 83.3% in this run, +75.0 points (+32.3 to +96.3); "
        "9 gained and 0 lost of 12 test examples"
    )
    assert f"Run comparison {verdict}, McNemar's exact p 0.0039." in text
    assert verdict in capsys.readouterr().out
    assert verdict in Elements(runs[1].read("index.html")).text
    assert "accuracy 8.3% 55.2% to 95.3% 83.3% 55.2% to 95.3% +75.0 points better" in text
    rows = "ant 0.0% 50.0% +50.0 0 2 bee 0.0% 100.0% +100.0 0 4 cat 25.0% 100.0% +75.0 0 3"
    assert f"Class Other This Change Lost Gained {rows}" in text
    assert text.count("The same in both runs.") == 2


def test_as_many_lost_as_gained_is_not_significant(runs: Runs) -> None:
    other, this = runs
    other.predicted = np.where(np.arange(12) >= 10, 0, this.truth)
    other.write_evaluate(other.root / "evaluate")
    both = "accuracy 83.3% in the other run, 83.3% in this run"
    verdict = f"No significant difference: {both}, 0 points (-34.3 to +34.3); 2 gained and 2 lost"
    assert verdict in compare(runs)


def make_graded(artifacts: Artifacts, kappa: float, group_size: int) -> None:
    """Make a run one of grades, with the probabilities of each example, and the test examples in groups."""
    artifacts.change_report(task={"name": "ordinal"})
    artifacts.change_json("evaluate/metrics.json", headline="quadratic_kappa", quadratic_kappa=kappa)
    rows = read_table(path := artifacts.root / "evaluate/predictions.csv", "evaluate")
    rows = [row | {f"score:{label}": float(row["prediction"] == label) for label in LABELS} for row in rows]
    write_table(path, rows, list(rows[0]))
    rows = read_table(path := artifacts.root / "prepare/manifest.csv", "prepare")
    rows = [row | {"group": f"{row['split']} {number // group_size}"} for number, row in enumerate(rows)]
    write_table(path, rows, list(rows[0]))


@pytest.mark.parametrize("group_size", [1, 3])
def test_grades_are_compared_by_their_kappa(runs: Runs, group_size: int) -> None:
    other, this = runs
    for artifacts, kappa in ((other, -0.25), (this, 0.75)):
        make_graded(artifacts, kappa, group_size)
    text = compare(runs)
    groups = " of whole groups" if group_size > 1 else ""
    assert "quadratic kappa -0.250 in the other run, 0.750 in this run, change +" in text
    assert f"; paired bootstrap{groups}, p " in text
    assert "McNemar" not in text
    assert "Only the change that the top of the page tests" in text
    assert "Grade Other This Change Lost Gained" in text


def test_examples_of_one_group_are_compared_as_a_whole(runs: Runs) -> None:
    for artifacts in runs:
        set_groups(artifacts, ["a", "a", "b", "b", "c", "c"] * 2)
    text = compare(runs)
    assert "9 gained and 0 lost of 12 test examples, paired bootstrap of 3 groups, p " in text
    for artifacts in runs:
        set_groups(artifacts, ["a"] * 12)
    assert "Significance not tested: the test examples are all of one group" in compare(runs)


def set_groups(artifacts: Artifacts, groups: list[str]) -> None:
    rows = read_table(path := artifacts.root / "prepare/manifest.csv", "prepare")
    rows = [row | {"group": f"{row['split']} {groups[number % 12]}"} for number, row in enumerate(rows)]
    write_table(path, rows, list(rows[0]))


def test_settings_code_curves_and_files_are_compared(runs: Runs) -> None:
    other, this = runs
    for artifacts, rate, version in ((other, 0.1, "1"), (this, 0.2, "2")):
        config = {"model": {"lr": rate, "betas": [0.9, 0.99]}, "seed": 0}
        (artifacts.root / "train/config.yaml").write_text(yaml.safe_dump(config))
        provenance = {"code_version": version, "data_hash": "abc", "versions": {"torch": "2.9"}}
        write_json(artifacts.root / "train/provenance.json", provenance)
    exported = (this.root / "export/report.json").read_text()
    faster = exported.replace('"latency_ms_b1_p50": 0.5', '"latency_ms_b1_p50": 0.25')
    (this.root / "export/report.json").write_text(faster)
    text = compare(runs)
    caption = "Data, code and versions Differences between the runs"
    assert f"Setting Other This model.lr 0.1 0.2 {caption} Setting Other This code version 1 2" in text
    assert "onnx 2.00 MB 2.00 MB 0.5 ms 0.25 ms 2.0\u00d7 as fast" in text
    charts = Elements(this.read("against.html")).attributes("svg", "aria-label")
    lines = "train from 2 to 1, val from 1 to 0.5, train (other) from 2 to 1, val (other) from 1 to 0.5"
    assert charts[0] == f"loss by epoch: {lines}"


@pytest.mark.parametrize("change", ["hash", "content", "labels"])
def test_runs_with_different_test_examples_are_not_paired(runs: Runs, change: str) -> None:
    other, this = runs
    if change == "hash":
        other.change_report(data_hash="other")
    elif change == "content":
        set_test_hashes(other, "a")
        set_test_hashes(this, "b")
    else:
        other.truth = other.truth[::-1]
        other.write_evaluate(other.root / "evaluate")
    text = compare(runs)
    assert "Significance not tested: the runs have different test examples (accuracy" in text
    assert "McNemar" not in text
    assert "the predictions cannot be compared in pairs" in text
    assert "Lost" not in text


def test_runs_with_different_training_data_are_paired(runs: Runs) -> None:
    runs[0].change_report(data_hash="other")
    for artifacts in runs:
        set_test_hashes(artifacts, "abc")
    assert "Significant difference" in compare(runs)


def test_runs_with_different_classes_and_stages_are_compared(tmp_path: Path) -> None:
    for name in ("other", "this"):
        (tmp_path / name).mkdir()
    runs = Artifacts(tmp_path / "other", [*LABELS, "dog"]), Artifacts(tmp_path / "this", LABELS)
    for name in ("train", "export", "explain"):
        shutil.rmtree(runs[0].root / name)
    text = compare(runs)
    assert "dog 100.0% \u2013 \u2013" in text
    assert "The runs have no curves in common." in text
    assert "onnx \u2013 2.00 MB \u2013 0.5 ms \u2013" in text


def test_a_folder_that_is_not_a_run_is_refused_in_one_line(runs: Runs) -> None:
    other, this = runs
    message = (
        r"report.against must be a run's artifacts folder; got .*nowhere, without prepare/report.json; "
        r"pass a copy of artifacts/"
    )
    with pytest.raises(UserError, match=message):
        this.report(against=this.root / "nowhere")
    (other.root / "evaluate/predictions.csv").unlink()
    with pytest.raises(UserError, match=r"without evaluate/predictions.csv"):
        compare(runs)
    assert not (this.root / "report").exists()
