"""`leyden compare` of models that predict numbers, by the paired bootstrap of their headline measure."""

import json
from pathlib import Path

import pytest
import torch

from leyden.cli import main

MODEL = "artifacts/train/model.ckpt"


def read(folder: Path) -> dict:
    return json.loads((folder / "c.json").read_text())


@pytest.fixture
def worse(in_regression: Path, tmp_path: Path) -> Path:
    """A folder with worse.ckpt, a model that always predicts about 200, and its predictions.csv."""
    checkpoint = torch.load(MODEL, weights_only=True)
    state = checkpoint["state_dict"]
    name = max(key for key in state if key.endswith("bias") and state[key].shape == (1,))
    state[name] += 5.0
    torch.save(checkpoint, tmp_path / "worse.ckpt")
    args = [f"--model={tmp_path}/worse.ckpt", f"--out={tmp_path}/evaluate", "--robustness=[]", "--num_resamples=20"]
    assert main(["evaluate", *args]) == 0
    return tmp_path


def test_a_worse_model_and_its_predictions_give_the_same_comparison(worse, capsys):
    comparisons = []
    for old in (worse / "worse.ckpt", worse / "evaluate/predictions.csv"):
        assert main(["compare", str(old), MODEL, f"--out={worse}/c.json", "--num_resamples=500"]) == 0
        comparisons.append(read(worse))
    first, second = comparisons
    assert first["mae_new"] < first["mae_old"]
    assert second["mae_old"] == pytest.approx(first["mae_old"], rel=1e-4)
    assert first["mae_change"] == pytest.approx(first["mae_new"] - first["mae_old"])
    assert first["mae_change_low"] < first["mae_change"] < first["mae_change_high"] < 0
    assert first["mae_change_p_value"] < 0.001
    assert first["higher_is_better"] is False
    metrics = json.loads((worse / "evaluate/metrics.json").read_text())
    assert first["mae_old"] == pytest.approx(metrics["mae"])
    assert first["examples"] == metrics["examples"]
    assert "compare: mean absolute error " in (out := capsys.readouterr().out)
    assert f" {first['mae_new']:.3g} deg new: change -" in out
    assert ", better by more than noise (paired bootstrap, p " in out
    assert main(["compare", MODEL, f"{worse}/worse.ckpt", f"--out={worse}/c.json", "--num_resamples=500"]) == 0
    assert ", worse by more than noise (paired bootstrap, p " in capsys.readouterr().out


def test_a_model_does_not_differ_from_itself(in_regression, tmp_path, capsys):
    assert main(["compare", MODEL, MODEL, f"--out={tmp_path}/c.json", "--num_resamples=100"]) == 0
    assert read(tmp_path)["mae_change_p_value"] == 1
    assert read(tmp_path)["mae_change"] == 0
    assert ", no more than noise (paired bootstrap, p 1)" in capsys.readouterr().out


def test_another_task_or_other_targets_are_one_line(worse, trained, error_of):
    out = f"--out={worse}/c.json"
    line = error_of("compare", MODEL, f"{trained}/{MODEL}", out)
    assert "expected a model for regression" in line
    checkpoint = torch.load(MODEL, weights_only=True)
    checkpoint["leyden"]["labels"] = ["weight"]
    torch.save(checkpoint, worse / "weight.ckpt")
    assert "expected a model of the labels angle_deg" in error_of("compare", MODEL, f"{worse}/weight.ckpt", out)
    assert not (worse / "c.json").exists()


def test_predictions_of_other_examples_or_targets_are_errors(worse, error_of):
    def error(lines: list[str]) -> str:
        (worse / "other.csv").write_text("\n".join(lines))
        return error_of("compare", f"{worse}/other.csv", MODEL, f"--out={worse}/c.json")

    header, first, *rows = (worse / "evaluate/predictions.csv").read_text().splitlines()
    assert "it lacks 2, first " in error([header, first, *rows[:-2]])
    assert "there is no column angle_deg" in error([header.replace(",angle_deg,", ",weight,"), first, *rows])
    path, _, *cells = first.split(",")
    assert f"it has others for {path}" in error([header, ",".join([path, "123", *cells]), *rows])
    text = error([header, ",".join([path, first.split(",")[1], "nan", *cells[1:]]), *rows])
    assert "a prediction is not a finite number" in text
    assert not (worse / "c.json").exists()
