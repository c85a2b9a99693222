"""`leyden predict`: one row per file, in order; unreadable files with a reason."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
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
    assert "expected files or folders to predict; got none" in error_of("predict", MODEL)


def test_json_lines_hold_labels_as_texts_and_confidences_as_numbers(in_trained, tmp_path):
    out = tmp_path / "p.jsonl"
    for args in ([f"--out={out}"], [f"--out={out}", "--top_k=1"]):  # the second replaces what the first has written
        assert main(["predict", MODEL, "data/3/0003.png", "missing.png", *args]) == 0
    found, missing = map(json.loads, out.read_text().splitlines())
    assert list(found) == ["path", "prediction", "confidence"]
    assert found["prediction"] in "0123456789"
    assert 0 < found["confidence"] <= 1
    assert missing == {"path": "missing.png", "error": "No such file or directory"}


def test_the_format_overrides_the_suffix(in_trained, tmp_path):
    assert main(["predict", MODEL, "data/3/0003.png", f"--out={tmp_path}/p.txt", "--format=jsonl"]) == 0
    assert json.loads((tmp_path / "p.txt").read_text())["path"] == "data/3/0003.png"
    assert main(["predict", MODEL, "data/3/0003.png", f"--out={tmp_path}/p.jsonl", "--format=csv"]) == 0
    assert (tmp_path / "p.jsonl").read_text().startswith("path,prediction,confidence,")


@pytest.mark.parametrize(
    "content", ['{"path": "a.png", "label": "3"}', "[[1]]", "[" * 100_000, "3", "path,label", "\xe9"]
)
def test_json_lines_never_replace_another_file(content, in_trained, tmp_path, error_of):
    (tmp_path / "mine.jsonl").write_bytes(content.encode("latin-1"))
    line = error_of("predict", MODEL, "data/3/0003.png", f"--out={tmp_path}/mine.jsonl")
    assert "it is another file, which would be lost" in line
    assert (tmp_path / "mine.jsonl").read_bytes() == content.encode("latin-1")


def test_a_name_that_is_not_utf8_is_valid_json(in_trained, tmp_path):
    name = os.fsdecode(b"n\xff.png")
    shutil.copy("data/3/0003.png", tmp_path / name)
    assert main(["predict", MODEL, str(tmp_path / name), f"--out={tmp_path}/p.jsonl"]) == 0
    assert json.loads((tmp_path / "p.jsonl").read_bytes().decode())["path"] == str(tmp_path / name)
