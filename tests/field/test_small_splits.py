"""Small classes get their share of every split, and the reason is true if one cannot."""

import csv
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from leyden.cli import main


def write_images(folder, num_classes, per_class, first=0):
    for label in range(num_classes):
        (folder / f"class {label}").mkdir(parents=True, exist_ok=True)
        for number in range(first, first + per_class):
            pixels = np.random.default_rng([label, number]).integers(0, 256, (6, 6), np.uint8)
            Image.fromarray(pixels).save(folder / f"class {label}/{number}.png")


def splits_of(out):
    with open(out / "manifest.csv", newline="", encoding="utf-8") as file:
        return {row["path"]: (row["label"], row["split"]) for row in csv.DictReader(file)}


def prepare(data, out, *args):
    assert main(["prepare", "--data", str(data), "--out", str(out), *args]) == 0
    return splits_of(out)


def test_classes_of_twenty_have_validation_and_test_images(tmp_path, capsys):
    write_images(tmp_path / "data", 30, 20)
    before = prepare(tmp_path / "data", tmp_path / "out")
    counts = Counter(before.values())
    for label in range(30):
        assert 3 <= counts[f"class {label}", "test"] <= 5
        assert 2 <= counts[f"class {label}", "val"] <= 4
    assert "warning" not in capsys.readouterr().err
    write_images(tmp_path / "data", 1, 1, first=20)
    after = prepare(tmp_path / "data", tmp_path / "out")
    moved = [path for path, split in before.items() if after[path] != split]
    assert len(moved) <= 3
    assert all(path.startswith("class 0/") for path in moved)


def test_small_classes_are_in_every_split_whatever_the_fractions(tmp_path, capsys):
    write_images(tmp_path / "data", 20, 4)
    counts = Counter(prepare(tmp_path / "data", tmp_path / "out", "--test_fraction=0.8", "--val_fraction=0.1").values())
    assert len(counts) == 60
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "groups", "reason"),
    [
        (2, None, "only 2 examples to draw from"),
        (20, ["eve"], "all 20 examples are in only 1 group, and each stays in one split"),
        (20, ["eve", "bob"], "all 20 examples are in only 2 groups, and each stays in one split"),
        ("copies", None, "all 5 examples are copies of only 1, and each stays in one split"),
    ],
)
def test_a_missing_class_has_its_true_reason(files, groups, reason, tmp_path, capsys):
    write_images(tmp_path / "data", 3, 20)
    if files == 2:
        for number in range(2, 20):
            (tmp_path / f"data/class 0/{number}.png").unlink()
    if files == "copies":
        for number in range(1, 20):
            (tmp_path / f"data/class 0/{number}.png").unlink()
            if number < 5:
                shutil.copy(tmp_path / "data/class 0/0.png", tmp_path / f"data/class 0/{number}.png")
    if groups:
        paths = sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.png"))
        rows = [
            f"{path},{path.split('/')[0]},{groups[index % len(groups)] if path.startswith('class 0') else ''}"
            for index, path in enumerate(paths)
        ]
        (tmp_path / "data/manifest.csv").write_text("path,label,group\n" + "\n".join(rows) + "\n")
    prepare(tmp_path / "data", tmp_path / "out")
    assert f"prepare: warning: no val example of class 0: {reason}\n" in capsys.readouterr().err


def test_a_class_missing_from_the_users_own_split_is_not_called_too_small(tmp_path, capsys):
    write_images(tmp_path / "data/train", 3, 20)
    write_images(tmp_path / "data/test", 2, 5, first=50)
    prepare(tmp_path / "data", tmp_path / "out")
    assert "no test example of class 2: your own test split has none\n" in capsys.readouterr().err
