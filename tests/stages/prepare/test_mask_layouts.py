"""Images and masks are paired in folders, splits and archives; other layouts are refused with what to write."""

import shutil
from pathlib import Path

import pytest

from leyden.data.packed import read_paths, read_split
from leyden.imaging import masks
from tests.stages.prepare.test_archives import pack
from tests.stages.test_prepare import prepare
from tests.tasks.test_segmentation import COUNT, LABELS, write_rectangles


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rectangles(tmp_path / "data")


def test_folders_of_splits_are_kept(data, tmp_path):
    for kind in ("images", "masks"):
        for number, path in enumerate(sorted((data / kind).iterdir())):
            split = ("train", "val", "test")[number % 3]
            (data / kind / split).mkdir(exist_ok=True)
            path.rename(data / kind / split / path.name)
    assert prepare(data, tmp_path / "out")["sizes"] == {"train": 14, "val": 13, "test": 13}
    assert read_paths(tmp_path / "out", "val")[0] == "images/val/01.png"


def test_folders_of_images_and_masks_in_each_split_are_kept(data, tmp_path):
    for kind in ("images", "masks"):
        for number, path in enumerate(sorted((data / kind).iterdir())):
            split = ("train", "val", "test")[number % 3]
            (data / split / kind).mkdir(parents=True, exist_ok=True)
            path.rename(data / split / kind / path.name)
    report = prepare(data, tmp_path / "out")
    assert (report["sizes"], report["left_out"]) == ({"train": 14, "val": 13, "test": 13}, [])
    assert read_paths(tmp_path / "out", "val")[0] == "val/images/01.png"


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("all.zip", ""), ("all.tar", "./"), ("all.tar.gz", "set/"), ("{kind}.zip", ""), ("{kind}.tar.gz", "{kind}/")],
)
@pytest.mark.parametrize("has_manifest", [False, True])
def test_masks_in_archives_are_read_like_those_in_folders(data, tmp_path, name, prefix, has_manifest):
    plain = prepare(data, tmp_path / "plain")
    shutil.copytree(data, tmp_path / "unpacked")
    for kind in ("images", "masks"):
        shutil.rmtree(data / kind)
        if "{kind}" in name:
            archive = data / name.format(kind=kind)
            pack(tmp_path / "unpacked" / kind, archive, prefix.format(kind=kind))
    if "{kind}" not in name:
        (tmp_path / "unpacked/classes.csv").unlink()
        pack(tmp_path / "unpacked", data / name, prefix)
    if has_manifest:
        folders = [f"{name.format(kind=kind)}/{prefix.format(kind=kind)}" for kind in ("images", "masks")]
        folders = folders if "{kind}" in name else [f"{name}/{prefix}{kind}/" for kind in ("images", "masks")]
        rows = [f"{folders[0]}{number:02}.png,{folders[1]}{number:02}.png" for number in range(COUNT)]
        (data / "manifest.csv").write_text("\n".join(["path,mask", *rows]))
    packed = prepare(data, tmp_path / "packed")
    assert packed["labels"] == LABELS
    assert [row["reason"] for row in packed["left_out"]] in ([], ["hidden files"])
    assert packed["task"] == plain["task"]
    for split in packed["sizes"]:
        for kind, other in zip(
            read_split(tmp_path / "packed", split), read_split(tmp_path / "plain", split), strict=True
        ):
            assert sorted(map(bytes, kind)) == sorted(map(bytes, other))


def test_a_table_of_classes_in_an_archive_is_named(data, tmp_path, capsys):
    pack(data, tmp_path / "packed/all.zip")
    prepare(tmp_path / "packed", tmp_path / "out")
    assert "1 classes.csv in an archive (move it into the data folder): all.zip/classes.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("JPEGImages/{}.png", "SegmentationClass/{}.png"),
        ("leftImg8bit/train/ulm/{}_leftImg8bit.png", "gtFine/train/ulm/{}_gtFine_labelIds.png"),
        ("{}.png", "{}_mask.png"),
        ("benign/{}.png", "benign/{}_mask.png"),
        ("images/{}.png", "masks/{}_mask.png"),
        ("train/{}.png", "train_masks/{}_mask.png"),
        ("train/{}.png", "labels/{}.png"),
        ("training/image/{}.png", "training/label/{}.png"),
    ],
)
def test_other_layouts_of_masks_are_refused_with_a_line_for_the_manifest(data, tmp_path, error_of, image, mask):
    for number in range(COUNT):
        for kind, pattern in (("images", image), ("masks", mask)):
            path = tmp_path / "other" / pattern.format(f"scan{number:02}")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(data / kind / f"{number:02}.png", path)
    line = error_of("prepare", f"--data={tmp_path / 'other'}", f"--out={tmp_path}/out")
    row = f"{image.format('scan00')},{mask.format('scan00')}"
    assert "expected images/ and masks/, or a manifest.csv of path,mask in" in line
    assert f"such as {row}, or" in line
    rows = [f"{image.format(f'scan{n:02}')},{mask.format(f'scan{n:02}')}" for n in range(COUNT)]
    (tmp_path / "other/manifest.csv").write_text("\n".join(["path,mask", *rows]))
    assert prepare(tmp_path / "other", tmp_path / "out")["task"]["name"] == "segmentation"


@pytest.mark.parametrize("names", [("mask", "no_mask"), ("labels", "posters"), ("gt", "rally")])
def test_classes_whose_names_could_be_those_of_masks_stay_classes(data, tmp_path, names):
    for name in names:
        (data / ("images" if name == names[0] else "masks")).rename(tmp_path / name)
    shutil.rmtree(data)
    data.mkdir()
    for name in names:
        (tmp_path / name).rename(data / name)
    assert prepare(data, tmp_path / "out")["labels"] == sorted(names)


def test_each_mask_is_decoded_once(data, tmp_path, monkeypatch):
    decoded = []
    original = masks.to_raw
    monkeypatch.setattr(masks, "to_raw", lambda *args: decoded.append(args) or original(*args))
    (data / "classes.csv").unlink()
    prepare(data, tmp_path / "out", "--num_workers=1")
    assert len(decoded) == COUNT


def test_two_masks_of_one_image_are_an_error(data, tmp_path, error_of):
    shutil.copy(data / "masks/00.png", data / "masks/00.bmp")
    line = error_of("prepare", f"--data={data}", f"--out={tmp_path}/out")
    assert "expected one file in masks/ for each image; got masks/00.bmp and masks/00.png" in line


def test_masks_of_other_names_than_their_images_are_an_error(data, tmp_path, error_of):
    for mask in (data / "masks").iterdir():
        mask.rename(mask.with_name(f"drawn{mask.name}"))
    line = error_of("prepare", f"--data={data}", f"--out={tmp_path}/out")
    assert f"expected files of the same names in images/ and masks/ of {data}; found none" in line
    assert "in masks/ without an image: masks/drawn00.png" in line
