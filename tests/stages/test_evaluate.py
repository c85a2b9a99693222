"""Scores are right, and their intervals honest."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import leyden
from leyden.cli import main
from leyden.data.packed import read_paths, read_split
from leyden.runtimes.load import predict_logits


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_test_example_is_predicted_and_the_files_agree(in_trained, tmp_path):
    assert main(["evaluate", "--out", str(tmp_path / "out"), "--robustness=[]"]) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    with open(tmp_path / "out/predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == read_paths("artifacts/prepare", "test") and len(rows) == metrics[
        "examples"
    ] == 350
    assert all(Path(row["path"]).parts[0] == row["label"] for row in rows)
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert metrics["accuracy"] == pytest.approx(right / 350) and metrics["errors"] == 350 - right
    assert metrics["accuracy_low"] < metrics["accuracy"] <= metrics["accuracy_high"]
    scores = np.array([[float(row[f"score:{label}"]) for label in "0123456789"] for row in rows])
    assert np.allclose(scores.sum(1), 1, atol=1e-4)
    assert all(
        float(row["confidence"]) == pytest.approx(top, abs=1e-6) for row, top in zip(rows, scores.max(1), strict=True)
    )
    assert all(float(row["confidence"]) >= metrics["abstain_below"] for row in rows) == (
        metrics["abstain_coverage"] == 1
    )
    assert (tmp_path / "out/confusion.png").read_bytes().startswith(b"\x89PNG")


def test_prediction_of_a_file_is_its_evaluation(in_trained, tmp_path):
    """`leyden predict` reads the file as `leyden prepare` did."""
    assert main(["evaluate", "--out", str(tmp_path / "out"), "--robustness=[]"]) == 0
    assert main(["predict", "artifacts/train/model.ckpt", "data", "--out", str(tmp_path / "p.csv")]) == 0
    found = []
    for name in ("out/predictions.csv", "p.csv"):
        with open(tmp_path / name, newline="", encoding="utf-8") as file:
            found.append(
                {Path(row["path"]).name: (row["prediction"], float(row["confidence"])) for row in csv.DictReader(file)}
            )
    assert len(found[1]) == 1797
    for name, (label, confidence) in found[0].items():
        assert found[1][name] == (label, pytest.approx(confidence, abs=1e-4))


def test_mistakes(in_trained, error_of, tmp_path, shapes):
    assert "run `leyden fit` first" in error_of("evaluate", "--model=nope.ckpt")
    assert "confidence_level must lie in (0, 1); got 2" in error_of(
        "evaluate", "--confidence_level=2", "--out", str(tmp_path / "out")
    )
    assert main(["prepare", "--data", str(shapes), "--out", str(tmp_path / "shapes-packed")]) == 0
    line = error_of("evaluate", "--data", str(tmp_path / "shapes-packed"), "--out", str(tmp_path / "out"))
    assert "expected a model of the labels big triangle, carré, cercle; " in line and not (tmp_path / "out").exists()


def test_probabilities_are_those_of_the_temperature_that_the_checkpoint_carries(in_trained, tmp_path):
    assert main(["evaluate", f"--out={tmp_path}/out"]) == 0
    model = leyden.load("artifacts/train/model.ckpt")
    split = read_split(Path("artifacts/prepare"), "val")
    logits, labels = predict_logits(model, split.images, 256).double(), torch.from_numpy(split.labels)
    losses = {t: float(torch.nn.functional.cross_entropy(logits / t, labels)) for t in (model.temperature, 1.0)}
    assert model.temperature != 1 and losses[model.temperature] < losses[1.0]
    assert json.loads((tmp_path / "out/metrics.json").read_text())["temperature"] == model.temperature
    test = predict_logits(model, read_split(Path("artifacts/prepare"), "test").images, 256)
    sure = (test / model.temperature).softmax(1).amax(1)
    assert [float(row["confidence"]) for row in read_csv(tmp_path / "out/predictions.csv")] == pytest.approx(
        sure.tolist(), abs=1e-5
    )


def test_a_model_below_what_is_required_is_not_published_but_can_be_looked_at(in_trained, tmp_path, error_of):
    out = f"--out={tmp_path}/out"
    assert main(["evaluate", out, "--require={accuracy: 0.5, log_loss: 5}"]) == 0
    published = json.loads((tmp_path / "out/metrics.json").read_text())
    assert published["required"] == {"accuracy": 0.5, "log_loss": 5}
    line = error_of("evaluate", out, "--require={accuracy: 0.5, log_loss: 0.0001, accuracy_low: 0.9999}")
    assert (
        "expected log_loss of at most 0.0001, got " in line
        and "accuracy_low of at least 0.9999, got " in line
        and "accuracy of" not in line
    )
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == published
    assert json.loads((tmp_path / "out-failed/metrics.json").read_text())["required"]["log_loss"] == 0.0001
    assert "got 'acuracy' (did you mean 'accuracy'?)" in error_of("evaluate", out, "--require={acuracy: 0.5}")
    assert main(["evaluate", out]) == 0 and not (tmp_path / "out-failed").exists()


def test_against_an_earlier_model_its_predictions_and_itself(in_trained, tmp_path, capsys, error_of):
    """A model whose last layer was blurred by noise is worse, and by more than chance; a model is not worse than itself."""
    checkpoint = torch.load("artifacts/train/model.ckpt", weights_only=True)
    head = max(
        key for key in checkpoint["state_dict"] if key.endswith("weight") and checkpoint["state_dict"][key].ndim == 2
    )
    weight = checkpoint["state_dict"][head]
    weight += weight.std() * 2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    torch.save(checkpoint, tmp_path / "worse.ckpt")
    assert main(["evaluate", f"--model={tmp_path}/worse.ckpt", f"--out={tmp_path}/worse"]) == 0
    found = []
    for other in ("worse.ckpt", "worse/predictions.csv"):
        assert main(["evaluate", f"--out={tmp_path}/out", f"--against={tmp_path}/{other}"]) == 0
        found.append(json.loads((tmp_path / "out/comparison.json").read_text()))
    assert (
        found[0]["figures"].keys() == found[1]["figures"].keys()
        and found[0]["gained"] == found[1]["gained"] > found[0]["lost"]
    )
    for row, other in zip(*(each["figures"].values() for each in found), strict=True):
        assert row["change"] == pytest.approx(other["change"], abs=1e-4)
        assert row["change_low"] - 1e-9 <= row["change"] <= row["change_high"] + 1e-9
    assert (
        found[0]["p_value"] < 0.05
        and found[0]["figures"]["log_loss"]["is_more_than_noise"]
        and found[0]["figures"]["log_loss"]["change"] < 0
    )
    assert "more than noise" in capsys.readouterr().out
    assert main(["evaluate", f"--out={tmp_path}/out", "--against=artifacts/train/model.ckpt"]) == 0
    same = json.loads((tmp_path / "out/comparison.json").read_text())
    assert same["p_value"] == 1 and not any(
        row["is_more_than_noise"] or row["change"] for row in same["figures"].values()
    )
    assert "no more than noise" in capsys.readouterr().out
    lines = (tmp_path / "worse/predictions.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:-2]))
    assert "it lacks 2, " in error_of("evaluate", f"--out={tmp_path}/out", f"--against={tmp_path}/few.csv")
    (tmp_path / "other.csv").write_text("path,score:cat\na,1")
    assert "expected scores of the classes 0, 1" in error_of(
        "evaluate", f"--out={tmp_path}/out", f"--against={tmp_path}/other.csv"
    )


def test_errors_and_robustness_are_listed(in_trained, tmp_path):
    assert main(["evaluate", f"--out={tmp_path}/out", "--robustness=[noise, pgd]"]) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    mistakes = read_csv(tmp_path / "out/errors/mistakes.csv")
    assert (
        len(mistakes)
        == metrics["errors"]
        == sum(int(row["count"]) for row in read_csv(tmp_path / "out/errors/confusions.csv"))
    )
    assert {row["by"] for row in read_csv(tmp_path / "out/errors/slices.csv")} == {"class", "brightness"}
    assert {row["split"] for row in read_csv(tmp_path / "out/errors/suspects.csv")} <= {"val", "test"}
    rows = read_csv(tmp_path / "out/robustness/accuracy.csv")
    assert [row["kind"] for row in rows] == ["noise"] * 3 + ["pgd"] * 3 and metrics["pgd_accuracy"] < metrics[
        "noise_accuracy"
    ]
    assert (tmp_path / "out/robustness/accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_an_exported_file_is_evaluated_without_attacks(in_trained, tmp_path, capsys):
    assert main(["export", f"--out={tmp_path}/export", '--formats={"onnx": ["fp32"]}']) == 0
    file = next((tmp_path / "export").glob("*.onnx"))
    assert main(["evaluate", f"--model={file}", f"--out={tmp_path}/out", "--robustness=[contrast, fgsm]"]) == 0
    assert "robustness without fgsm, which need a checkpoint's gradients" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["accuracy"] > 0.8 and "contrast_accuracy" in metrics and "fgsm_accuracy" not in metrics
