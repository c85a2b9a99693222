"""`leyden compare` by the headline of each task, and on examples in groups."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from leyden.cli import main
from leyden.files.tables import read_table, write_table
from leyden.outputs import load_reader
from tests.stages.projects import make_project

MODEL = "artifacts/train/model.ckpt"


def regroup(folder: Path, num_groups: int) -> list[str]:
    """Copy the prepared data, with the examples of each split in groups; return the groups of the test examples."""
    shutil.copytree("artifacts/prepare", folder / "grouped")
    rows = read_table(path := folder / "grouped/manifest.csv", "prepare")
    for number, row in enumerate(rows):
        row["group"] = f"{row['split']} {number % num_groups}"
    write_table(path, rows, list(rows[0]))
    return [row["group"] for row in rows if row["split"] == "test"]


def add_noise(path: str, folder: Path) -> Path:
    """Write a copy of a checkpoint whose last layer has noise added."""
    checkpoint = torch.load(path, weights_only=True)
    state = checkpoint["state_dict"]
    head = max(key for key in state if key.endswith("weight") and state[key].ndim == 2)
    noise = torch.randn(state[head].shape, generator=torch.Generator().manual_seed(0))
    state[head] += state[head].std() * 2 * noise
    torch.save(checkpoint, folder / "worse.ckpt")
    return folder / "worse.ckpt"


def test_grades_are_compared_by_their_kappa_from_models_and_from_predictions(tmp_path, capsys):
    folder, model = make_project(tmp_path, "ordinal")
    worse = add_noise(f"{folder}/model.ckpt", tmp_path)
    data, args = f"--data={folder}/prepare", ["--robustness=[]", "--num_resamples=20"]
    predicted = []
    for name, path in (("old", worse), ("new", folder / "model.ckpt")):
        assert main(["evaluate", f"--model={path}", data, f"--out={tmp_path}/{name}", *args]) == 0
        rows = read_table(tmp_path / f"{name}/predictions.csv", "evaluate")
        predicted.append([[model.labels.index(row[key]) for row in rows] for key in ("label", "prediction")])
    comparisons = []
    for old in (worse, tmp_path / "old/predictions.csv"):
        assert main(["compare", str(old), f"{folder}/model.ckpt", data, f"--out={tmp_path}/c.json"]) == 0
        comparisons.append(json.loads((tmp_path / "c.json").read_text()))
    assert comparisons[0] == comparisons[1]
    for name, (true, grades) in zip(("old", "new"), predicted, strict=True):
        kappa = cohen_kappa_score(true, grades, weights="quadratic")
        assert comparisons[0][f"quadratic_kappa_{name}"] == pytest.approx(kappa)
    assert comparisons[0]["quadratic_kappa_change_low"] < comparisons[0]["quadratic_kappa_change_high"]
    assert "compare: quadratic kappa " in (out := capsys.readouterr().out)
    assert "(paired bootstrap, p " in out


def test_robustness_and_the_printed_line_are_of_the_headline(tmp_path, capsys):
    folder, model = make_project(tmp_path, "ordinal")
    args = ["evaluate", f"--model={folder}/model.ckpt", f"--data={folder}/prepare", f"--out={tmp_path}/out"]
    assert main([*args, "--robustness=[noise, fgsm]", "--num_resamples=50"]) == 0
    rows = read_table(tmp_path / "out/robustness/quadratic_kappa.csv", "evaluate")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [row["kind"] for row in rows] == ["noise"] * 3 + ["fgsm"] * 3
    noise = [float(row["quadratic_kappa"]) for row in rows[:3]]
    assert metrics["noise_quadratic_kappa"] == pytest.approx(np.mean(noise))
    assert "noise_accuracy" not in metrics
    assert (tmp_path / "out/robustness/quadratic_kappa.png").is_file()
    assert not (tmp_path / "out/robustness/accuracy.csv").exists()
    first = capsys.readouterr().out.partition("evaluate: ")[2]
    assert first.startswith(f"quadratic_kappa {metrics['quadratic_kappa']:.4g} [")
    assert {row["by"] for row in read_table(tmp_path / "out/errors/slices.csv", "evaluate")} >= {"grade"}
    assert load_reader(model.spec).headline == "quadratic_kappa"


@pytest.mark.parametrize("fixture", ["in_trained", "in_regression"])
def test_groups_are_compared_and_scored_as_a_whole(fixture, request, tmp_path, capsys, error_of):
    request.getfixturevalue(fixture)
    num_groups = len(set(regroup(tmp_path, 12)))
    worse, out = add_noise(MODEL, tmp_path), f"--out={tmp_path}/c.json"
    widths, metrics, robustness = [], [], []
    for data in ("artifacts/prepare", f"{tmp_path}/grouped"):
        assert main(["compare", str(worse), MODEL, f"--data={data}", out, "--num_resamples=400"]) == 0
        comparison = json.loads((tmp_path / "c.json").read_text())
        name = next(iter(comparison)).removesuffix("_old")
        widths.append(comparison[f"{name}_change_high"] - comparison[f"{name}_change_low"])
        args = [f"--data={data}", f"--out={tmp_path}/out", "--robustness=[noise]", "--num_resamples=400"]
        assert main(["evaluate", f"--model={MODEL}", *args]) == 0
        metrics.append(json.loads((tmp_path / "out/metrics.json").read_text()))
        robustness.append(read_table(tmp_path / f"out/robustness/{name}.csv", "evaluate")[0])
    assert "groups" not in metrics[0]
    assert comparison["groups"] == metrics[1]["groups"] == num_groups == 12
    assert widths[0] != widths[1]
    assert metrics[0][name] == metrics[1][name]
    assert metrics[0][f"{name}_low"] != metrics[1][f"{name}_low"]
    assert robustness[0][name] == robustness[1][name]
    assert robustness[0][f"{name}_low"] != robustness[1][f"{name}_low"]
    text = capsys.readouterr().out
    assert ", in 12 groups resampled as a whole" in text
    assert "the 12 groups of the test examples as a whole; " in text
    regrouped = tmp_path / "grouped/manifest.csv"
    rows = read_table(regrouped, "prepare")
    write_table(regrouped, [row | {"group": "one"} for row in rows], list(rows[0]))
    line = error_of("compare", MODEL, MODEL, f"--data={tmp_path}/grouped", out)
    assert "expected test examples of two groups or more" in line
