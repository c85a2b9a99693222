"""Any images in; a row for each out."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leyden.cli import main


def predict(tmp_path: Path, *args: str) -> list[dict[str, str]]:
    assert main(["predict", *args, "--out", str(tmp_path / "p.csv")]) == 0
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def models(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("models") / "out"
    checkpoint = f"{trained}/artifacts/train/model.ckpt"
    assert main(["export", f"--model={checkpoint}", f"--data={trained}/artifacts/prepare", f"--out={out}"]) == 0
    return [checkpoint, str(out / "model.onnx"), str(out / "model.pt2")]


def test_every_kind_of_model_names_the_same(models, in_trained, tmp_path):
    found = [predict(tmp_path, model, "data/3", "data/7/0007.png") for model in models]
    assert len(found[0]) == 184
    for rows in found:
        assert [(row["path"], row["prediction"], row["prediction_2"]) for row in rows] == [
            (row["path"], row["prediction"], row["prediction_2"]) for row in found[0]
        ]
    assert np.mean([row["prediction"] == Path(row["path"]).parent.name for row in found[0]]) > 0.8
    assert all(1 >= float(row["confidence"]) >= float(row["confidence_2"]) >= float(row["confidence_3"]) > 0 for row in found[0])


def test_prediction_agrees_with_evaluation(models, in_trained, tmp_path):
    assert main(["evaluate", "--out", str(tmp_path / "evaluate")]) == 0
    with open(tmp_path / "evaluate/predictions.csv", newline="", encoding="utf-8") as file:
        evaluated = {f"data/{row['path']}": row for row in csv.DictReader(file)}
    rows = {row["path"]: row for row in predict(tmp_path, models[0], "data")}
    assert len(rows) == 1797
    for path, row in evaluated.items():
        assert rows[path]["prediction"] == row["prediction"] and float(rows[path]["confidence"]) == pytest.approx(float(row["confidence"]), abs=1e-4)


def test_unreadable_files_are_rows_with_a_reason_in_their_place(models, in_trained, tmp_path, error_of):
    folder = tmp_path / "mixed ü"
    folder.mkdir()
    Image.new("RGB", (31, 17), "white").save(folder / "a wide one.jpg")
    (folder / "b.png").write_text("no image")
    Image.new("L", (8, 8)).save(folder / "c.bmp")
    (folder / "notes.txt").write_text("not looked at")
    rows = predict(tmp_path, models[0], str(folder), "missing.png", str(folder / "notes.txt"))
    assert [Path(row["path"]).name for row in rows] == ["a wide one.jpg", "b.png", "c.bmp", "missing.png", "notes.txt"]
    assert [row["error"] for row in rows] == ["", "not an image", "", "No such file or directory", "not an image"]
    assert [bool(row["prediction"]) for row in rows] == [True, False, True, False, False]
    line = error_of("predict", models[0], str(folder), "--strict", "--out", str(tmp_path / "strict.csv"))
    assert "1 of 3 are not" in line and len((tmp_path / "strict.csv").read_text().splitlines()) == 4


def test_more_files_than_a_batch_stay_in_order(models, in_trained, tmp_path):
    rows = predict(tmp_path, models[0], "data/0", "data/1", "--batch_size=7", "--top_k=1")
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows) and list(rows[0]) == ["path", "prediction", "confidence", "error"]


def test_nothing_to_do_is_an_error(models, tmp_path, error_of):
    (tmp_path / "empty").mkdir()
    assert "found none in" in error_of("predict", models[0], str(tmp_path / "empty"))
    assert "the following arguments are required: paths" in error_of("predict", models[0])
