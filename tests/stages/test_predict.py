"""`leyden predict`: one row per file, in order; unreadable files with a reason."""

from pathlib import Path

import numpy as np
from PIL import Image

from leyden.cli import main
from leyden.files.tables import read_table


def predict(tmp_path: Path, *args: str) -> list[dict[str, str]]:
    assert main(["predict", *args, "--out", str(tmp_path / "p.csv")]) == 0
    return read_table(tmp_path / "p.csv", "predict")


MODEL = "artifacts/train/model.ckpt"


def test_digits_are_predicted_with_the_next_best_labels(in_trained, tmp_path):
    rows = predict(tmp_path, MODEL, "data/3", "data/7/0007.png")
    assert len(rows) == 184
    assert np.mean([row["prediction"] == Path(row["path"]).parent.name for row in rows]) > 0.8
    assert all(
        1 >= float(row["confidence"]) >= float(row["confidence_2"]) >= float(row["confidence_3"]) > 0 for row in rows
    )


def test_unreadable_files_have_rows_with_a_reason(in_trained, tmp_path, error_of):
    folder = tmp_path / "mixed ü"
    folder.mkdir()
    Image.new("RGB", (31, 17), "white").save(folder / "a wide one.jpg")
    (folder / "b.png").write_text("not an image")
    Image.new("L", (8, 8)).save(folder / "c.bmp")
    (folder / "notes.txt").write_text("ignored in a folder")
    rows = predict(tmp_path, MODEL, str(folder), "missing.png", str(folder / "notes.txt"))
    assert [Path(row["path"]).name for row in rows] == ["a wide one.jpg", "b.png", "c.bmp", "missing.png", "notes.txt"]
    assert [row["error"] for row in rows] == ["", "not an image", "", "No such file or directory", "not an image"]
    assert [bool(row["prediction"]) for row in rows] == [True, False, True, False, False]
    line = error_of("predict", MODEL, str(folder), "--strict", "--out", str(tmp_path / "strict.csv"))
    assert "1 of 3 have none" in line
    assert len((tmp_path / "strict.csv").read_text().splitlines()) == 4


def test_more_files_than_a_batch_stay_in_order(in_trained, tmp_path):
    rows = predict(tmp_path, MODEL, "data/0", "data/1", "--batch_size=7", "--top_k=1")
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    assert list(rows[0]) == ["path", "prediction", "confidence", "error"]


def test_no_files_is_an_error(in_trained, tmp_path, error_of):
    (tmp_path / "empty").mkdir()
    assert "found none in" in error_of("predict", MODEL, str(tmp_path / "empty"))
    assert "the following arguments are required: paths" in error_of("predict", MODEL)
