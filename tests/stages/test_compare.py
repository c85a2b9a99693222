"""`leyden compare`: two models on the same examples, with labels matched by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from leyden.cli import main
from leyden.data.packed import read_paths
from leyden.stages.compare.accuracy import find_correct

MODEL = "artifacts/train/model.ckpt"


def test_labels_are_matched_by_name():
    scores = torch.eye(3)  # predictions: z, b, a
    is_correct = find_correct(["z", "b", "a"], scores, torch.tensor([0, 1, 0]), ["a", "b", "c"])
    assert is_correct.tolist() == [False, True, True]


def test_models_of_different_digits_are_compared_on_the_shared_ones(in_trained, tmp_path, error_of):
    """A model of digits 5 to 9 against one of all ten, on digits 4 to 6; each may predict any of its digits."""
    for name, digits in (("few", "456"), ("low", "012")):
        (tmp_path / name).mkdir()
        for digit in digits:
            shutil.copytree(f"data/{digit}", tmp_path / name / digit)
        assert main(["prepare", f"--data={tmp_path}/{name}", f"--out={tmp_path}/{name}-packed"]) == 0
    checkpoint = torch.load(MODEL, weights_only=True)
    checkpoint["leyden"]["labels"] = [f"x{label}" if int(label) < 5 else label for label in "0123456789"]
    torch.save(checkpoint, tmp_path / "new.ckpt")
    args = ["compare", MODEL, f"{tmp_path}/new.ckpt", f"--out={tmp_path}/c.json"]
    assert main([*args, f"--data={tmp_path}/few-packed"]) == 0
    comparison = json.loads((tmp_path / "c.json").read_text())
    assert comparison["labels"] == ["5", "6"]
    assert comparison["examples_left_out"] > 0
    assert comparison["accuracy_old"] == comparison["accuracy_new"] > 0.8
    assert comparison["lost"] == comparison["gained"] == 0
    line = error_of(*args, f"--data={tmp_path}/low-packed")
    assert "expected models that share a label" in line
    assert "(0, 1, 2)" in line
    assert "confidence_level must lie in (0, 1); got 1.0" in error_of(*args, "--confidence_level=1")
    assert not Path("comparison.json").exists()


@pytest.fixture
def worse(in_trained: Path, tmp_path: Path) -> Path:
    """A folder with worse.ckpt, a model whose last layer has noise added, and its predictions.csv."""
    checkpoint = torch.load(MODEL, weights_only=True)
    state = checkpoint["state_dict"]
    head = max(key for key in state if key.endswith("weight") and state[key].ndim == 2)
    noise = torch.randn(state[head].shape, generator=torch.Generator().manual_seed(0))
    state[head] += state[head].std() * 2 * noise
    torch.save(checkpoint, tmp_path / "worse.ckpt")
    args = [f"--model={tmp_path}/worse.ckpt", f"--out={tmp_path}/evaluate", "--robustness=[]", "--num_resamples=20"]
    assert main(["evaluate", *args]) == 0
    return tmp_path


def test_a_worse_model_and_its_predictions_give_the_same_comparison(worse, capsys):
    comparisons = []
    for old in (worse / "worse.ckpt", worse / "evaluate/predictions.csv"):
        assert main(["compare", str(old), MODEL, f"--out={worse}/c.json"]) == 0
        comparisons.append(json.loads((worse / "c.json").read_text()))
    assert comparisons[0] == comparisons[1]
    assert comparisons[0]["gained"] > comparisons[0]["lost"]
    assert comparisons[0]["accuracy_change_p_value"] < 0.05
    assert comparisons[0]["accuracy_change_low"] <= comparisons[0]["accuracy_change"]
    assert comparisons[0]["accuracy_change"] <= comparisons[0]["accuracy_change_high"]
    assert comparisons[0]["examples"] == 350
    old, new = (f"{100 * comparisons[0][f'accuracy_{which}']:.1f}%" for which in ("old", "new"))
    assert f"compare: accuracy {old} old, {new} new: change +" in (out := capsys.readouterr().out)
    assert " points (+" in out
    assert ", better by more than noise (McNemar p " in out


def test_new_predictions_are_compared_too(worse):
    predictions = worse / "evaluate/predictions.csv"
    assert main(["compare", MODEL, str(predictions), f"--out={worse}/c.json"]) == 0
    comparison = json.loads((worse / "c.json").read_text())
    assert comparison["accuracy_new"] < comparison["accuracy_old"]


def test_a_model_does_not_differ_from_itself(in_trained, tmp_path, capsys):
    assert main(["compare", MODEL, MODEL, f"--out={tmp_path}/c.json"]) == 0
    comparison = json.loads((tmp_path / "c.json").read_text())
    assert comparison["accuracy_change_p_value"] == 1
    assert comparison["accuracy_change"] == 0
    assert ", no more than noise (McNemar p 1)" in capsys.readouterr().out


def test_predictions_of_other_examples_or_labels_are_errors(worse, error_of):
    def error(lines: list[str]) -> str:
        (worse / "other.csv").write_text("\n".join(lines))
        return error_of("compare", f"{worse}/other.csv", MODEL, f"--out={worse}/c.json")

    header, *rows = (worse / "evaluate/predictions.csv").read_text().splitlines()
    assert "it lacks 2, first " in error([header, *rows[:-2]])
    assert "expected models that share a label" in error([header.replace("score:", "score:digit "), *rows])
    assert "has no rows with columns score:LABEL" in error(["path,score", "a.png,1"])
    assert "expected 2 cells in each row" in error(["path,score", *rows])
    assert "has no rows with columns score:LABEL" in error([header])
    missing = error_of("compare", "missing.csv", MODEL, f"--out={worse}/c.json")
    assert "expected missing.csv; not found; run `leyden evaluate` first" in missing
    assert not (worse / "c.json").exists()


def test_a_shared_label_without_test_examples_is_an_error(in_trained, tmp_path, error_of):
    shutil.copytree("artifacts/prepare", tmp_path / "packed")
    report = json.loads((tmp_path / "packed/report.json").read_text())
    counts = {split: {**counts, "unseen": 0} for split, counts in report["counts"].items()}
    report |= {"labels": [*report["labels"], "unseen"], "counts": counts}
    (tmp_path / "packed/report.json").write_text(json.dumps(report))
    paths = read_paths(tmp_path / "packed", "test")
    rows = ["path,score:unseen,score:x", *(f"{path},0.5,0.5" for path in paths)]
    (tmp_path / "p.csv").write_text("\n".join(rows))
    line = error_of("compare", *[f"{tmp_path}/p.csv"] * 2, f"--data={tmp_path}/packed", f"--out={tmp_path}/c.json")
    assert "expected test examples of a label that both models have (unseen)" in line
