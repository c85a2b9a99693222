"""Splits have the expected fractions, and groups and copies stay whole."""

import csv
import shutil

import pytest
from PIL import Image

from leyden.stages.prepare.splits import split_keys
from leyden.stages.prepare.strata import draw_unit
from tests.conftest import SHAPES, write_shapes
from tests.stages.test_prepare import prepare, splits_of, write_own_splits


def test_splits_have_the_requested_fractions_and_depend_on_the_seed():
    fractions = {"test": 0.2, "val": 0.15}
    digests = [str(number) for number in range(20_000)]
    drawn = [draw_unit(digest, 0, fractions).split for digest in digests]
    assert drawn.count("test") / 20_000 == pytest.approx(0.2, abs=0.01)
    assert drawn.count("val") / 20_000 == pytest.approx(0.15, abs=0.01)
    assert drawn != [draw_unit(digest, 1, fractions).split for digest in digests]


def test_the_same_image_in_two_formats_is_in_one_split(shapes, tmp_path):
    for number, path in enumerate(sorted((shapes / "cercle").iterdir())):
        with Image.open(path) as image:
            image.convert("RGB").save(shapes / "cercle" / f"copy {number}.bmp")
    report = prepare(shapes, tmp_path / "out")
    with open(tmp_path / "out/manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_content: dict[str, set[str]] = {}
    for row in rows:
        by_content.setdefault(row["sha256"], set()).add(row["split"])
    assert len(rows) == 120
    assert len(by_content) == 90
    assert all(len(splits) == 1 for splits in by_content.values())
    assert report["duplicates"]["exact"] == 30
    assert report["duplicates"]["leaks"] == 0


def write_groups(data, groups):
    """Write a manifest of the images in a folder; two of three are in the group of their number modulo `groups`."""
    with open(data / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for name in SHAPES:
            for path in sorted((data / name).iterdir()):
                number = int(path.stem.split()[-1])
                writer.writerow(
                    [path.relative_to(data).as_posix(), name, f"patient {number % groups}" if number % 3 else ""]
                )


def splits_by_group(out):
    with open(out / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_group: dict[str, set[str]] = {}
    for row in rows:
        if row["group"]:
            by_group.setdefault(row["group"], set()).add(row["split"])
    return by_group


def test_groups_stay_whole_when_files_are_added_or_removed(shapes, tmp_path):
    write_groups(shapes, 13)
    prepare(shapes, tmp_path / "before")
    before = splits_of(tmp_path / "before")
    by_group = splits_by_group(tmp_path / "before")
    assert len(by_group) == 13
    assert all(len(splits) == 1 for splits in by_group.values())
    assert len(set.union(*by_group.values())) == 3

    for number in (4, 6, 7):
        next((shapes / "cercle").glob(f"* {number}.*")).unlink()
    write_shapes(tmp_path / "more", 34)
    for name in SHAPES:
        for number in range(30, 34):
            shutil.copy(next((tmp_path / "more" / name).glob(f"* {number}.*")), shapes / name)
    write_groups(shapes, 13)
    prepare(shapes, tmp_path / "after")
    after = splits_of(tmp_path / "after")
    shared = before.keys() & after.keys()
    assert len(shared) == 87
    assert len(after) == 99
    assert all(len(splits) == 1 for splits in splits_by_group(tmp_path / "after").values())
    assert sum(before[path] != after[path] for path in shared) <= 20  # groups of 4 to 6, in classes of 30


def test_groups_that_share_an_image_are_merged():
    keys = split_keys(["b", "a", "", "c", "", "d"], ["1", "1", "1", "2", "3", "4"])
    assert keys == ["group:a", "group:a", "group:a", "group:c", "3", "group:d"]
    assert split_keys(["c", "b", "b", "a"], ["1", "1", "2", "2"]) == ["group:a"] * 4


@pytest.fixture
def own_splits(tmp_path):
    write_own_splits(tmp_path / "data", {"train": 6, "val": 3, "test": 4})
    return tmp_path / "data"


def test_leakage_between_own_splits_is_an_error_unless_allowed(own_splits, tmp_path, error_of, capsys):
    assert prepare(own_splits, tmp_path / "out")["duplicates"]["leaks"] == 0
    leaked = sorted((own_splits / "train/cercle").iterdir())[0]
    shutil.copy(leaked, own_splits / "test/carré/leak.png")
    line = error_of("prepare", "--data", str(own_splits), "--out", str(tmp_path / "out"))
    assert "no image and no group in two splits; got 1" in line
    assert "test/carré/leak.png (test)" in line
    assert leaked.name in line
    report = prepare(own_splits, tmp_path / "out", "--allow_leakage")
    assert report["duplicates"] | {"near": 0, "near_leaks": 0, "near_conflicts": 0} == {
        "exact": 1, "near": 0, "conflicts": 1, "near_conflicts": 0, "leaks": 1, "near_leaks": 0,
        "near_applies": True,
    }  # fmt: skip
    assert "prepare: 1 exact and" in capsys.readouterr().out
    with open(tmp_path / "out/duplicates.csv", newline="", encoding="utf-8") as file:
        exact = [row for row in csv.DictReader(file) if row["kind"] == "exact"]
    assert [(row["label"], row["other_label"], row["split"], row["other_split"]) for row in exact] in (
        [("carré", "cercle", "test", "train")],
        [("cercle", "carré", "train", "test")],
    )


def test_a_group_in_two_own_splits_is_an_error(own_splits, tmp_path, error_of):
    files = sorted(path.relative_to(own_splits).as_posix() for path in own_splits.rglob("*") if path.is_file())
    rows = [
        f"{path},{path.split('/')[1]},{'camera' if index in (0, len(files) - 1) else ''},{path.split('/')[0]}"
        for index, path in enumerate(files)
    ]
    (own_splits / "manifest.csv").write_text("path,label,group,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    line = error_of("prepare", "--data", str(own_splits), "--out", str(tmp_path / "out"))
    assert "got 1 such pairs" in line
    assert files[0] in line
    assert files[-1] in line
    assert prepare(own_splits, tmp_path / "out", "--allow_leakage")["duplicates"]["leaks"] == 1
