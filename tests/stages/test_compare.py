"""What a model forgot: pairs of predictions on the same examples, by the labels' names."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import torch

from leyden.cli import main
from leyden.stages.compare import is_right


def test_labels_are_compared_by_name():
    logits = torch.eye(3)  # z, b, a
    assert is_right(
        SimpleNamespace(labels=["z", "b", "a"]), logits, torch.tensor([0, 1, 0]), ["a", "b", "c"]
    ).tolist() == [False, True, True]


def test_a_model_of_other_digits_is_compared_on_those_that_both_know(in_trained, tmp_path, error_of):
    """A model of digits 5 to 9 against one of all ten; on digits 4 to 6, each may name any digit that it knows."""
    for name, digits in (("few", "456"), ("low", "012")):
        (tmp_path / name).mkdir()
        for digit in digits:
            shutil.copytree(f"data/{digit}", tmp_path / name / digit)
        assert main(["prepare", f"--data={tmp_path}/{name}", f"--out={tmp_path}/{name}-packed"]) == 0
    checkpoint = torch.load("artifacts/train/model.ckpt", weights_only=True)
    checkpoint["leyden"]["labels"] = [f"x{label}" if int(label) < 5 else label for label in "0123456789"]
    torch.save(checkpoint, tmp_path / "new.ckpt")
    args = ["compare", "artifacts/train/model.ckpt", f"{tmp_path}/new.ckpt", f"--out={tmp_path}/c.json"]
    assert main([*args, f"--data={tmp_path}/few-packed"]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["labels"] == ["5", "6"] and found["examples_left_out"] > 0
    assert found["accuracy_old"] == found["accuracy_new"] > 0.8 and found["lost"] == found["gained"] == 0
    line = error_of(*args, f"--data={tmp_path}/low-packed")
    assert "expected models that share a label" in line and "(0, 1, 2)" in line
    assert "confidence_level must lie in (0, 1); got 1.0" in error_of(*args, "--confidence_level=1")
    assert not Path("comparison.json").exists()
