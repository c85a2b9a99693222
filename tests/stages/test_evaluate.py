"""`leyden evaluate`: its files agree with one another and with the model, and requirements are enforced."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import leyden
from leyden.cli import main
from leyden.data.packed import read_paths, read_split
from leyden.errors import UserError
from leyden.files.tables import read_table
from leyden.outputs import load_reader
from leyden.runtimes.load import predict_logits
from leyden.stages.evaluate.abstention import find_threshold
from leyden.stages.evaluate.predictions import predict_split
from leyden.stages.evaluate.settings import Settings
from leyden.stages.evaluate.suspects import list_suspects


def read_metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_every_test_example_is_predicted_and_the_files_agree(in_trained, tmp_path):
    assert main(["evaluate", "--out", str(tmp_path / "out"), "--robustness=[]"]) == 0
    metrics, rows = read_metrics(tmp_path / "out"), read_table(tmp_path / "out/predictions.csv", "evaluate")
    assert [row["path"] for row in rows] == read_paths("artifacts/prepare", "test")
    assert len(rows) == metrics["examples"] == 350
    assert all(Path(row["path"]).parts[0] == row["label"] for row in rows)
    num_correct = sum(row["label"] == row["prediction"] for row in rows)
    assert metrics["accuracy"] == pytest.approx(num_correct / 350)
    assert metrics["errors"] == 350 - num_correct
    assert metrics["accuracy_low"] < metrics["accuracy"] <= metrics["accuracy_high"]
    scores = np.array([[float(row[f"score:{label}"]) for label in "0123456789"] for row in rows])
    assert np.allclose(scores.sum(1), 1, atol=1e-4)
    confidence = [float(row["confidence"]) for row in rows]
    assert confidence == pytest.approx(scores.max(1).tolist(), abs=1e-6)
    assert (min(confidence) >= metrics["abstain_below"]) == (metrics["abstain_coverage"] == 1)
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["calibration.png"]  # no names drawn as boxes


def test_predict_and_evaluate_agree_on_the_same_file(in_trained, tmp_path):
    """`leyden predict` reads a file as `leyden prepare` does."""
    assert main(["evaluate", "--out", str(tmp_path / "out"), "--robustness=[]"]) == 0
    assert main(["predict", "artifacts/train/model.ckpt", "data", "--out", str(tmp_path / "p.csv")]) == 0
    evaluated, predicted = (
        {
            Path(row["path"]).name: (row["prediction"], float(row["confidence"]))
            for row in read_table(tmp_path / name, "evaluate")
        }
        for name in ("out/predictions.csv", "p.csv")
    )
    assert len(predicted) == 1797
    for name, (label, confidence) in evaluated.items():
        assert predicted[name] == (label, pytest.approx(confidence, abs=1e-4))


def test_user_errors(in_trained, error_of, tmp_path, shapes):
    assert "run `leyden fit` first" in error_of("evaluate", "--model=nope.ckpt")
    assert "confidence_level must lie in (0, 1); got 2" in error_of(
        "evaluate", "--confidence_level=2", "--out", str(tmp_path / "out")
    )
    assert main(["prepare", "--data", str(shapes), "--out", str(tmp_path / "shapes-packed")]) == 0
    line = error_of("evaluate", "--data", str(tmp_path / "shapes-packed"), "--out", str(tmp_path / "out"))
    assert "expected images of 1 channel(s)" in line
    assert not (tmp_path / "out").exists()


def test_probabilities_are_calibrated_by_the_temperature_in_the_checkpoint(in_trained, tmp_path):
    assert main(["evaluate", f"--out={tmp_path}/out"]) == 0
    model = leyden.load("artifacts/train/model.ckpt")
    split = read_split(Path("artifacts/prepare"), "val")
    logits, labels = predict_logits(model, split.images, 256).double(), torch.from_numpy(split.targets)
    losses = {t: float(torch.nn.functional.cross_entropy(logits / t, labels)) for t in (model.temperature, 1.0)}
    assert model.temperature != 1
    assert losses[model.temperature] < losses[1.0]
    assert read_metrics(tmp_path / "out")["temperature"] == model.temperature
    test_logits = predict_logits(model, read_split(Path("artifacts/prepare"), "test").images, 256)
    confidence = (test_logits / model.temperature).softmax(1).amax(1).tolist()
    rows = read_table(tmp_path / "out/predictions.csv", "evaluate")
    assert [float(row["confidence"]) for row in rows] == pytest.approx(confidence, abs=1e-5)


def test_the_threshold_of_abstention_is_chosen_on_the_validation_split(in_trained, tmp_path):
    precision = ["--abstain_precision=0.999", "--robustness=[]"]
    assert main(["evaluate", f"--out={tmp_path}/out", *precision]) == 0
    model, metrics = leyden.load("artifacts/train/model.ckpt"), read_metrics(tmp_path / "out")
    test, validation = (
        predict_split(model, load_reader(model.spec), Path("artifacts/prepare"), split, 256)
        for split in ("test", "val")
    )
    threshold = find_threshold(validation, 0.999)
    assert metrics["abstain_below"] == threshold != find_threshold(test, 0.999)
    assert metrics["abstain_coverage"] == pytest.approx(float((test.confidence >= threshold).double().mean()))
    rows = read_table(tmp_path / "out/errors/suspects.csv", "evaluate")
    expected = [row for split in (test, validation) for row in list_suspects(split, "", 0.95)]
    assert [row["path"] for row in rows] == [row["path"] for row in expected]
    paths = {"test": test.paths, "val": validation.paths}
    assert {row["split"] for row in rows} == {"test", "val"}
    assert all(row["path"] in paths[row["split"]] for row in rows)


def test_the_settings_are_those_of_the_command_line(in_trained, tmp_path, monkeypatch):
    seen = []

    def record(predictor, reader, data, settings):
        seen.append(settings)
        raise UserError("expected no more")

    monkeypatch.setattr("leyden.stages.evaluate.evaluate_single_label", record)
    given = Settings(
        7, top_k=2, num_resamples=50, confidence_level=0.8, seed=3, abstain_precision=0.9, robustness=["blur"]
    )
    options = [f"--{name}={value}" for name, value in vars(given).items()]
    assert main(["evaluate", f"--out={tmp_path}/out", *options]) == 2
    assert seen == [given]


def test_a_model_that_misses_a_requirement_is_written_beside_the_output(in_trained, tmp_path, error_of):
    out = f"--out={tmp_path}/out"
    assert main(["evaluate", out, "--require={accuracy: 0.5, log_loss: 5}"]) == 0
    published = read_metrics(tmp_path / "out")
    assert published["required"] == {"accuracy": 0.5, "log_loss": 5}
    line = error_of("evaluate", out, "--require={accuracy: 0.5, log_loss: 0.0001, accuracy_low: 0.9999}")
    assert "expected log_loss of at most 0.0001, got " in line
    assert "accuracy_low of at least 0.9999, got " in line
    assert "accuracy of" not in line
    assert read_metrics(tmp_path / "out") == published
    assert read_metrics(tmp_path / "out-failed")["required"]["log_loss"] == 0.0001
    assert "got 'acuracy' (did you mean 'accuracy'?)" in error_of("evaluate", out, "--require={acuracy: 0.5}")
    assert main(["evaluate", out]) == 0
    assert not (tmp_path / "out-failed").exists()


def test_errors_and_robustness_are_listed(in_trained, tmp_path):
    assert main(["evaluate", f"--out={tmp_path}/out", "--robustness=[noise, pgd]"]) == 0
    metrics = read_metrics(tmp_path / "out")
    assert len(read_table(tmp_path / "out/errors/mistakes.csv", "evaluate")) == metrics["errors"]
    confusions = read_table(tmp_path / "out/errors/confusions.csv", "evaluate")
    assert sum(int(row["count"]) for row in confusions) == metrics["errors"]
    assert {row["by"] for row in read_table(tmp_path / "out/errors/slices.csv", "evaluate")} == {"class", "brightness"}
    assert {row["split"] for row in read_table(tmp_path / "out/errors/suspects.csv", "evaluate")} <= {"val", "test"}
    rows = read_table(tmp_path / "out/robustness/accuracy.csv", "evaluate")
    assert [row["kind"] for row in rows] == ["noise"] * 3 + ["pgd"] * 3
    assert metrics["pgd_accuracy"] < metrics["noise_accuracy"]
    assert (tmp_path / "out/robustness/accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_an_exported_file_is_evaluated_without_attacks(in_trained, tmp_path, capsys):
    assert main(["export", f"--out={tmp_path}/export", '--formats={"onnx": ["fp32"]}']) == 0
    file = next((tmp_path / "export").glob("*.onnx"))
    assert main(["evaluate", f"--model={file}", f"--out={tmp_path}/out", "--robustness=[contrast, fgsm]"]) == 0
    assert "robustness skips fgsm (needs a checkpoint's gradients)" in capsys.readouterr().out
    metrics = read_metrics(tmp_path / "out")
    assert metrics["accuracy"] > 0.8
    assert "contrast_accuracy" in metrics
    assert "fgsm_accuracy" not in metrics


def test_a_task_with_one_label_has_its_own_measures_too(in_trained, tmp_path, error_of):
    """The digits as grades, in their order."""
    shutil.copytree("artifacts/prepare", tmp_path / "packed")
    report = json.loads((tmp_path / "packed/report.json").read_text())
    (tmp_path / "packed/report.json").write_text(json.dumps(report | {"task": {"name": "ordinal"}}))
    checkpoint = torch.load("artifacts/train/model.ckpt", weights_only=True)
    checkpoint["leyden"]["task"] = {"name": "ordinal"}
    torch.save(checkpoint, tmp_path / "grades.ckpt")
    args = [f"--model={tmp_path}/grades.ckpt", f"--data={tmp_path}/packed", "--num_resamples=100", "--robustness=[]"]
    assert main(["evaluate", *args, f"--out={tmp_path}/out"]) == 0
    metrics = read_metrics(tmp_path / "out")
    assert (metrics["task"], metrics["headline"]) == ("ordinal", "quadratic_kappa")
    assert metrics["quadratic_kappa_low"] < metrics["quadratic_kappa"] < metrics["quadratic_kappa_high"]
    rows = read_table(tmp_path / "out/predictions.csv", "evaluate")
    distances = [abs(int(row["label"]) - int(row["prediction"])) for row in rows]
    assert metrics["mean_absolute_grade_error"] == pytest.approx(np.mean(distances))
    assert metrics["accuracy"] == pytest.approx(np.mean([distance == 0 for distance in distances]))
    require = "--require={mean_absolute_grade_error: 0.0001}"
    line = error_of("evaluate", *args, f"--out={tmp_path}/out", require)
    assert "expected mean_absolute_grade_error of at most 0.0001" in line
