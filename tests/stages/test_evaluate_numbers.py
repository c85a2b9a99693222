"""`leyden evaluate` of a model that predicts numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score, root_mean_squared_error

import leyden
from leyden.cli import main
from leyden.data.packed import read_paths, read_split
from leyden.files.tables import read_table
from leyden.runtimes.load import predict_logits
from leyden.stages.evaluate.attacks import from_pixels

NAME = "angle_deg"
FAST = ("--num_resamples=200", "--robustness=[]")


def read_metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_metrics_are_those_of_scikit_learn(in_regression, tmp_path):
    assert main(["evaluate", f"--out={tmp_path}/out", *FAST]) == 0
    images, targets = read_split(Path("artifacts/prepare"), "test")
    model = leyden.load("artifacts/train/model.ckpt")
    outputs = predict_logits(model, images, 256).numpy()
    metrics = read_metrics(tmp_path / "out")
    for name, function in (
        ("mae", mean_absolute_error),
        ("rmse", root_mean_squared_error),
        ("r2", r2_score),
        ("median_absolute_error", median_absolute_error),
    ):
        assert metrics[name] == pytest.approx(function(targets, outputs), rel=1e-5), name
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"], name
    radius = model.spec["task"]["radius"][0]
    assert metrics["coverage"] == pytest.approx((np.abs(outputs - targets) <= radius).mean())
    assert (metrics["task"], metrics["headline"]) == ("regression", "mae")
    assert (metrics["examples"], metrics["confidence_level"]) == (len(targets), 0.95)


def test_the_files_agree_with_one_another(in_regression, tmp_path, capsys):
    args = ("--num_resamples=500", "--robustness=[contrast, rotation]", "--require={contrast_mae: 900}")
    assert main(["evaluate", f"--out={tmp_path}/out", *args]) == 0
    printed = capsys.readouterr().out
    assert "evaluate: robustness skips rotation (would change the targets)" in printed
    metrics, rows = read_metrics(tmp_path / "out"), read_table(tmp_path / "out/predictions.csv", "evaluate")
    assert f"evaluate: mae {metrics['mae']:.4g} [{metrics['mae_low']:.4g}, {metrics['mae_high']:.4g}] on" in printed
    assert [row["path"] for row in rows] == read_paths("artifacts/prepare", "test")
    assert list(rows[0]) == ["path", f"true_{NAME}", NAME, f"{NAME}_low", f"{NAME}_high", "error"]
    errors = [abs(float(row[f"true_{NAME}"]) - float(row[NAME])) for row in rows]
    assert [float(row["error"]) for row in rows] == pytest.approx(errors, abs=1e-3)
    assert metrics["mae"] == pytest.approx(np.mean(errors), rel=1e-4)
    largest = read_table(tmp_path / "out/errors/largest.csv", "evaluate")
    assert [float(row["error"]) for row in largest] == pytest.approx(sorted(errors, reverse=True)[:100], abs=1e-3)
    slices = read_table(tmp_path / "out/errors/slices.csv", "evaluate")
    assert {row["by"] for row in slices} == {f"true {NAME}", "brightness"}
    robustness = read_table(tmp_path / "out/robustness/mae.csv", "evaluate")
    assert [row["kind"] for row in robustness] == ["contrast"] * 3
    assert all(float(row["mae_low"]) <= float(row["mae"]) <= float(row["mae_high"]) for row in robustness)
    assert metrics["contrast_mae"] == pytest.approx(np.mean([float(row["mae"]) for row in robustness]))
    measures = read_table(tmp_path / "out/tables/measures.csv", "evaluate")
    assert {row["measure"]: float(row["value"]) for row in measures}["mae"] == metrics["mae"]
    pictures = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    assert pictures == {"plots/predicted.png", "plots/residuals.png", "robustness/mae.png"}
    assert list((tmp_path / "out/pictures").iterdir()) == []


def test_attacks_raise_the_error_by_the_loss_of_the_task(in_regression, tmp_path):
    args = (f"--out={tmp_path}/out", "--num_resamples=100", "--robustness=[fgsm, pgd]")
    assert main(["evaluate", *args]) == 0
    metrics, rows = read_metrics(tmp_path / "out"), read_table(tmp_path / "out/robustness/mae.csv", "evaluate")
    assert metrics["pgd_mae"] > metrics["mae"]
    fgsm = [float(row["mae"]) for row in rows if row["kind"] == "fgsm"]
    assert metrics["mae"] < fgsm[0] < fgsm[1] < fgsm[2]


def test_a_model_as_a_function_of_pixels_predicts_in_the_units_of_the_targets(in_regression):
    model = leyden.load("artifacts/train/model.ckpt")
    pixels = torch.from_numpy(read_split(Path("artifacts/prepare"), "test").images[:4].copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        assert torch.allclose(from_pixels(model)(pixels / 255), model(pixels), atol=1e-4)


def test_requirements_are_bounds_in_the_direction_of_the_metric(in_regression, tmp_path, error_of):
    out = f"--out={tmp_path}/out"
    assert main(["evaluate", out, *FAST, "--require={mae: 90, r2: -5, coverage_low: 0.2}"]) == 0
    line = error_of("evaluate", out, *FAST, "--require={mae: 0.01, rmse_high: 0.01, r2: 0.9999, coverage: 0.1}")
    for name, bound in (("mae", "most"), ("rmse_high", "most"), ("r2", "least")):
        assert f"{name} of at {bound} " in line, name
    assert "coverage of" not in line
    assert read_metrics(tmp_path / "out-failed")["required"]["mae"] == 0.01
    assert "got 'coverge' (did you mean 'coverage'?)" in error_of("evaluate", out, *FAST, "--require={coverge: 1}")
    assert "to name metrics" in error_of("evaluate", out, *FAST, "--require={headline: 1}")


def test_a_model_for_another_task_is_one_line(in_regression, trained, tmp_path, error_of):
    line = error_of("evaluate", f"--model={trained}/artifacts/train/model.ckpt", f"--out={tmp_path}/out", *FAST)
    assert "expected a model for regression" in line
    assert "is for classification" in line
    line = error_of("evaluate", f"--data={trained}/artifacts/prepare", f"--out={tmp_path}/out", *FAST)
    assert "expected a model for classification" in line
    assert not (tmp_path / "out").exists()
