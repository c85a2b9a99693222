"""What `leyden evaluate` does with many images and classes, or few images of each."""

import csv

import torch

from leyden.artifacts import SCORE_PREFIX
from leyden.cli import main
from leyden.files.tables import read_table
from leyden.stages.compare.predictions import read_predictions
from leyden.stages.evaluate.metrics import metrics_with_intervals
from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.results import write_results
from leyden.stages.evaluate.single_label import describe_results
from leyden.stages.evaluate.suspects import list_suspects


def predict(num_classes: int, count: int, skill: float) -> Predictions:
    labels = torch.arange(count) % num_classes
    logits = torch.randn(count, num_classes, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(count), labels] += skill
    names = [f"class {number}" for number in range(num_classes)]
    scores = (skill * logits).log_softmax(dim=1)
    return Predictions([f"{number}.png" for number in range(count)], names, labels, scores, scores.argmax(dim=1))


def test_macro_scores_of_4_images_a_class_lie_well_inside_their_intervals():
    metrics = metrics_with_intervals(predict(242, 968, 3.8), 3, 100, 0.95, 0)
    for name in ("balanced_accuracy", "macro_precision", "macro_f1"):
        value, low, high = (metrics[f"{name}{end}"] for end in ("", "_low", "_high"))
        assert 0.8 < value < 0.9, name
        assert value - low > 0.015, name
        assert high - value > 0.015, name


def test_robustness_takes_a_random_sample(in_trained, tmp_path, monkeypatch):
    monkeypatch.setattr("leyden.stages.evaluate.robustness.MAX_EXAMPLES", 96)
    tables = []
    for seed in range(3):
        assert main(["evaluate", f"--out={tmp_path}/{seed}", "--robustness=[rotation]", f"--seed={seed}"]) == 0
        tables.append(read_table(tmp_path / f"{seed}/robustness/accuracy.csv", "evaluate"))
    assert {row["examples"] for row in tables[0]} == {"96"}
    assert tables[0] != tables[1] or tables[0] != tables[2]


def test_the_cost_of_a_long_step_is_announced(in_trained, tmp_path, monkeypatch, capsys):
    for name in ("MIN_SECONDS", "MEASURED_SECONDS"):
        monkeypatch.setattr(f"leyden.cost.{name}", 0.0)
    assert main(["evaluate", f"--out={tmp_path}/out", "--robustness=[contrast]"]) == 0
    assert main(["prepare", f"--out={tmp_path}/prepare"]) == 0
    assert main(["predict", "artifacts/train/model.ckpt", "data/3", f"--out={tmp_path}/p.csv"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "prepare: reading 1,797 files: about 1 minute" in lines
    assert "prepare: packing 1,797 images: about 1 minute" in lines
    assert "predict: predictions of 183 files: about 1 minute" in lines
    assert "evaluate: predictions of 350 examples: about 1 minute" in lines
    assert "evaluate: robustness on 350 images: about 1 minute" in lines


def test_a_long_training_says_so_after_its_first_epoch(workspace, monkeypatch, capfd):
    monkeypatch.setattr("leyden.cost.MIN_SECONDS", 0.0)
    assert (
        main(["fit", "--trainer.max_epochs=3", "--trainer.limit_train_batches=2", "--network.init_args.width=4"]) == 0
    )
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("fit: 2 more")] == ["fit: 2 more epochs: about 1 minute"]


def test_tables_and_plots_of_1000_classes_are_bounded(tmp_path):
    predictions = predict(1000, 2000, 3.0)
    metrics = {"headline": "accuracy", **metrics_with_intervals(predictions, 3, 100, 0.95, 0)}
    suspects = list_suspects(predictions, "test", 0.95)
    write_results(tmp_path, describe_results(predictions, metrics, [], suspects))
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    filled = [
        {name: float(cell) for name, cell in row.items() if name.startswith(SCORE_PREFIX) and cell} for row in rows
    ]
    assert {len(scores) for scores in filled} == {100}
    assert all(
        SCORE_PREFIX + row["prediction"] == max(scores, key=scores.get)
        for row, scores in zip(rows, filled, strict=True)
    )
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.png")) < 1e6
    assert len((tmp_path / "tables/per_class.csv").read_text().splitlines()) == 1001

    saved = read_predictions(tmp_path / "predictions.csv", predictions.paths)
    assert torch.equal(saved.probabilities.argmax(dim=1), predictions.predicted)


def test_a_row_of_predictions_that_is_cut_off_is_no_row_of_unlikely_classes(tmp_path, in_trained, error_of):
    assert main(["evaluate", f"--out={tmp_path}/out", "--robustness=[]"]) == 0
    path = tmp_path / "out/predictions.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 4)[0]]) + "\n")
    assert "cells in each row of" in error_of("compare", str(path), "artifacts/train/model.ckpt")
