"""Labelled images in, checked and packed examples out; bad data is named."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leyden.cli import main
from leyden.data.packed import SPLITS, read_paths, read_report, read_split
from leyden.stages.prepare import split_of
from tests.conftest import SHAPES, write_shapes


def prepare(data: Path, out: Path, *args: str) -> dict:
    assert main(["prepare", "--data", str(data), "--out", str(out), *args]) == 0
    return read_report(out)


def splits_of(out: Path) -> dict[str, str]:
    return {path: split for split in SPLITS for path in read_paths(out, split)}


def test_reads_classes_channels_and_size_from_the_data(shapes, tmp_path):
    report = prepare(shapes, tmp_path / "out")
    assert report["labels"] == sorted(SHAPES) and report["input"]["channels"] == 3 and report["rejected"] == 0
    height, width = report["input"]["image_size"]
    assert 18 <= height < 26 and 28 <= width < 40
    for split in SPLITS:
        images, labels = read_split(tmp_path / "out", split)
        assert images.shape[1:] == (height, width, 3) and len(images) == len(labels) == sum(report["counts"][split].values())
        expected = [report["labels"].index(Path(path).parts[0]) for path in read_paths(tmp_path / "out", split)]
        assert labels.tolist() == expected


def test_mean_and_deviation_are_the_training_pixels(shapes, tmp_path):
    report = prepare(shapes, tmp_path / "out")
    pixels = read_split(tmp_path / "out", "train").images.reshape(-1, 3) / 255
    assert np.allclose(report["input"]["mean"], pixels.mean(0), atol=1e-5)
    assert np.allclose(report["input"]["std"], pixels.std(0), atol=1e-5)


def test_same_input_same_bytes(shapes, tmp_path):
    for name in ("a", "b"):
        prepare(shapes, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_adding_or_removing_a_file_moves_no_other(shapes, tmp_path):
    prepare(shapes, tmp_path / "before")
    removed = sorted((shapes / "carré").iterdir())[3]
    removed.unlink()
    Image.new("RGB", (33, 22), "red").save(shapes / "carré" / "new.png")
    prepare(shapes, tmp_path / "after")
    before, after = splits_of(tmp_path / "before"), splits_of(tmp_path / "after")
    shared = before.keys() & after.keys()
    assert len(shared) == 89 and all(before[path] == after[path] for path in shared)


def test_splits_have_the_shares_asked_for_and_follow_the_seed():
    digests = [str(number) for number in range(20_000)]
    drawn = [split_of(digest, 0, (0.2, 0.35)) for digest in digests]
    assert drawn.count("test") / 20_000 == pytest.approx(0.2, abs=0.01)
    assert drawn.count("val") / 20_000 == pytest.approx(0.15, abs=0.01)
    assert drawn != [split_of(digest, 1, (0.2, 0.35)) for digest in digests]


def test_copies_of_a_file_fall_in_one_split(shapes, tmp_path):
    for number, path in enumerate(sorted((shapes / "cercle").iterdir())):
        shutil.copy(path, shapes / "cercle" / f"copy {number}{path.suffix}")
    prepare(shapes, tmp_path / "out")
    with open(tmp_path / "out/manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_content: dict[str, set[str]] = {}
    for row in rows:
        by_content.setdefault(row["sha256"], set()).add(row["split"])
    assert len(rows) == 120 and all(len(splits) == 1 for splits in by_content.values())


def test_split_folders_are_kept(tmp_path):
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        write_shapes(tmp_path / "data" / split, count)
    report = prepare(tmp_path / "data", tmp_path / "out")
    assert report["labels"] == sorted(SHAPES)
    assert {split: sum(counts.values()) for split, counts in report["counts"].items()} == {"train": 18, "val": 9, "test": 12}


def test_a_missing_validation_folder_is_drawn_from_training(tmp_path):
    write_shapes(tmp_path / "data/train", 30)
    write_shapes(tmp_path / "data/test", 4)
    report = prepare(tmp_path / "data", tmp_path / "out")
    assert sum(report["counts"]["val"].values()) > 3 and all(path.startswith("test/") for path in read_paths(tmp_path / "out", "test"))


def test_broken_files_are_listed_and_left_out(shapes, tmp_path):
    (shapes / "cercle/zero.png").touch()
    (shapes / "cercle/text.jpg").write_text("not an image")
    (shapes / "cercle/notes.txt").write_text("not even named like one")
    report = prepare(shapes, tmp_path / "out")
    with open(tmp_path / "out/rejected.csv", newline="", encoding="utf-8") as file:
        assert {row["path"]: row["reason"] for row in csv.DictReader(file)} == {
            "cercle/text.jpg": "not an image",
            "cercle/zero.png": "not an image",
        }
    assert report["rejected"] == 2 and "cercle/text.jpg" not in splits_of(tmp_path / "out")


def test_too_many_broken_files_stop_the_stage_and_leave_the_old_result(shapes, tmp_path, error_of):
    prepare(shapes, tmp_path / "out")
    before = (tmp_path / "out/report.json").read_bytes()
    for number in range(9):
        (shapes / f"cercle/{number}.png").touch()
    line = error_of("prepare", "--data", str(shapes), "--out", str(tmp_path / "out"))
    assert "at most 5% unreadable files; got 9 of 99" in line and "cercle/0.png: not an image" in line
    assert (tmp_path / "out/report.json").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


def test_full_disk_leaves_nothing_half_written(shapes, tmp_path, monkeypatch):
    from leyden.data.packed import ArrayWriter

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArrayWriter, "append", full)
    with pytest.raises(OSError, match="No space left"):
        main(["prepare", "--data", str(shapes), "--out", str(tmp_path / "out")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shapes"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: None, "which is not there"),
        (lambda data: data.mkdir(), "found none"),
        (lambda data: (data / "a").mkdir(parents=True), "found none"),
        (lambda data: write_shapes(data / "only"), "found"),
        (lambda data: (write_shapes(data, 2), (data / "cercle").rename(data / "x")), "expected (train|val|test) examples"),
    ],
)
def test_unusable_data(make, message, tmp_path, error_of):
    import re

    make(tmp_path / "data")
    if (tmp_path / "data/only").exists():
        for name in SHAPES[1:]:
            shutil.rmtree(tmp_path / "data/only" / name)
        (tmp_path / "data/only" / SHAPES[0]).rename(tmp_path / "data" / SHAPES[0])
        message = "two classes or more .* got only 'cercle'"
    assert re.search(message, error_of("prepare", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_large_images_are_packed_small(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("L", (600, 300 + number), number).save(tmp_path / "data" / name / f"{number}.png")
    report = prepare(tmp_path / "data", tmp_path / "out")
    assert report["input"]["image_size"] == [115, 224] and report["input"]["channels"] == 1
    report = prepare(tmp_path / "data", tmp_path / "out", "--image_size=[10,12]")
    assert report["input"]["image_size"] == [10, 12]


def test_report_is_plain_json(in_trained):
    report = json.loads(Path("artifacts/prepare/report.json").read_text())
    assert {split: sum(counts.values()) for split, counts in report["counts"].items()} == {"train": 1177, "val": 278, "test": 342}
    assert json.loads(Path("artifacts/prepare/labels.json").read_text()) == list("0123456789")
