"""Any name of a file, a folder or a class is carried through all stages: no traceback, no formula, no control codes."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leyden.cli import main
from leyden.data.packed import SPLITS, read_paths, read_report
from leyden.files.tables import read_table

NOT_UTF8 = b"caf\xe9"
NAMES = [NOT_UTF8 + b".png", b"a\x1b[31m.png", b"two\nlines.png", b'say "x", y.png', b"=1+1.png", b"-1.png", b"x" * 250]
ESCAPED = [r"caf\xe9.png", r"a\x1b[31m.png", r"two\nlines.png", 'say "x", y.png', "=1+1.png", "-1.png", "x" * 250]


def save_image(path: bytes, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    with open(path, "wb") as file:
        Image.fromarray(pixels).save(file, "PNG")


def write_classes(data: Path, classes: list[bytes], names: list[bytes]) -> Path:
    for number, (label, name) in enumerate((label, name) for label in classes for name in names):
        folder = os.fsencode(data) + b"/" + label
        Path(os.fsdecode(folder)).mkdir(parents=True, exist_ok=True)
        save_image(folder + b"/" + name, number)
    return data


def cells_of(path: Path) -> list[str]:
    with open(path, newline="", encoding="utf-8") as file:
        return [cell for row in csv.reader(file) for cell in row]


def prepare(data: Path) -> dict:
    assert main(["prepare", "--data", str(data), "--out", str(data.with_name("out"))]) == 0
    return read_report(data.with_name("out"))


def test_prepare_writes_any_name(tmp_path):
    plain = [b"%d.png" % number for number in range(30)]
    data = write_classes(tmp_path / "data", [NOT_UTF8, b"=dog", b"-1"], [*plain, *NAMES[:-1], b"x" * 246 + b".png"])
    broken = os.fsencode(data) + b"/-1/\xff broken.png"
    with open(broken, "wb"):
        pass
    report = prepare(data)
    assert report["labels"] == ["-1", "=dog", r"caf\xe9"]
    assert sum(sum(counts.values()) for counts in report["counts"].values()) == 3 * 37
    out = tmp_path / "out"
    paths = {path for split in SPLITS for path in read_paths(out, split)}
    assert {rf"caf\xe9/{name}" for name in ESCAPED[:-1]} <= paths
    assert {row["label"] for row in read_table(out / "manifest.csv", "prepare")} == set(report["labels"])
    assert read_table(out / "rejected.csv", "prepare") == [{"path": r"-1/\xff broken.png", "reason": "empty file"}]
    cells = [cell for table in ("manifest.csv", "rejected.csv") for cell in cells_of(out / table)]
    assert not [cell for cell in cells if not cell.isprintable() or cell.startswith(("=", "@", "+"))]


def test_an_escaped_path_of_a_prepared_manifest_names_the_file(tmp_path):
    data = write_classes(tmp_path / "data", [NOT_UTF8, b"=dog"], [b"%d.png" % number for number in range(30)])
    counts = prepare(data)["counts"]
    (data / "manifest.csv").write_bytes((tmp_path / "out/manifest.csv").read_bytes())
    assert prepare(data)["counts"] == counts


def test_an_error_about_any_name_is_one_printable_line(tmp_path, error_of):
    data = write_classes(tmp_path / "data", [b"a\x1b[31m", NOT_UTF8 + b"\nb", b"test"], [b"0.png"])
    assert r"'a\x1b[31m'" in (line := error_of("prepare", "--data", str(data), "--out", str(tmp_path / "out")))
    assert line.isprintable()


def test_predict_writes_any_name(in_trained, tmp_path):
    folder = os.fsencode(tmp_path) + b"/photos"
    Path(os.fsdecode(folder)).mkdir()
    for number, name in enumerate(NAMES[:-1]):
        save_image(folder + b"/" + name, number)
    files = [os.fsdecode(folder + b"/" + name) for name in NAMES]
    assert main(["predict", "artifacts/train/model.ckpt", *files, "--out", str(tmp_path / "p.csv")]) == 0
    rows = read_table(tmp_path / "p.csv", "predict")
    assert [row["path"] for row in rows] == [f"{tmp_path}/photos/{name}" for name in ESCAPED]
    assert [row["error"] for row in rows] == [""] * 6 + ["No such file or directory"]


def test_predict_neutralises_formulas(in_trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = in_trained / "artifacts/train/model.ckpt"
    assert main(["predict", str(model), "=1+1.png", "--out", "p.csv"]) == 0
    assert "'=1+1.png" in cells_of(tmp_path / "p.csv")
    assert read_table(tmp_path / "p.csv", "predict")[0]["path"] == "=1+1.png"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="names are text there")
def test_predict_says_where_it_wrote(in_trained, tmp_path, capfd):
    out = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")
    assert main(["predict", "artifacts/train/model.ckpt", "data/3", "--out", out]) == 0
    assert rf"written to {tmp_path}/\xff.csv" in capfd.readouterr().out
