"""Labelled images are checked and packed, and unusable data is reported."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leyden.cli import main
from leyden.data.packed import SPLITS, ArrayWriter, read_paths, read_report, read_split
from leyden.imaging.images import read_image
from leyden.stages.prepare.duplicates import Duplicates
from leyden.stages.prepare.pixel_cache import PixelCache
from leyden.stages.prepare.settings import choose_storage
from tests.conftest import SHAPES, draw_shape, write_shapes


def prepare(data: Path, out: Path, *args: str) -> dict:
    assert main(["prepare", "--data", str(data), "--out", str(out), *args]) == 0
    return read_report(out)


def splits_of(out: Path) -> dict[str, str]:
    return {path: split for split in SPLITS for path in read_paths(out, split)}


def write_own_splits(data: Path, counts: dict[str, int]) -> None:
    """Write different images of each class under train/, val/ and test/."""
    write_shapes(data.with_name("all"), sum(counts.values()))
    folders = [split for split, count in counts.items() for _ in range(count)]
    for path in sorted(data.with_name("all").glob("*/*")):
        target = data / folders[int(path.stem.split()[-1])] / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        path.rename(target / path.name)


def test_classes_channels_and_size_follow_from_the_data(shapes, tmp_path):
    report = prepare(shapes, tmp_path / "out")
    assert report["labels"] == sorted(SHAPES)
    assert report["input"]["channels"] == 3
    assert report["rejected"] == 0
    height, width = report["input"]["image_size"]
    assert 18 <= height < 26
    assert 28 <= width < 40
    for split in SPLITS:
        images, labels = read_split(tmp_path / "out", split)
        assert images.shape[1:] == (height, width, 3)
        assert len(images) == len(labels) == sum(report["counts"][split].values())
        expected = [report["labels"].index(Path(path).parts[0]) for path in read_paths(tmp_path / "out", split)]
        assert labels.tolist() == expected


def test_mean_and_std_are_of_the_training_pixels(shapes, tmp_path):
    report = prepare(shapes, tmp_path / "out")
    pixels = read_split(tmp_path / "out", "train").images.reshape(-1, 3) / 255
    assert np.allclose(report["input"]["mean"], pixels.mean(0), atol=1e-5)
    assert np.allclose(report["input"]["std"], pixels.std(0), atol=1e-5)


def test_output_is_reproducible(shapes, tmp_path):
    for name in ("a", "b"):
        prepare(shapes, tmp_path / name)
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 15  # with the marker
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path.name


def test_adding_and_removing_a_file_moves_no_other(shapes, tmp_path):
    prepare(shapes, tmp_path / "before")
    removed = sorted((shapes / "carré").iterdir())[3]
    removed.unlink()
    Image.new("RGB", (33, 22), "red").save(shapes / "carré" / "new.png")
    prepare(shapes, tmp_path / "after")
    before, after = splits_of(tmp_path / "before"), splits_of(tmp_path / "after")
    shared = before.keys() & after.keys()
    assert len(shared) == 89
    assert all(before[path] == after[path] for path in shared)


def test_split_folders_are_kept(tmp_path):
    write_own_splits(tmp_path / "data", {"train": 6, "val": 3, "test": 4})
    report = prepare(tmp_path / "data", tmp_path / "out")
    assert report["labels"] == sorted(SHAPES)
    assert {split: sum(counts.values()) for split, counts in report["counts"].items()} == {
        "train": 18,
        "val": 9,
        "test": 12,
    }


def test_a_missing_validation_folder_is_drawn_from_training(tmp_path):
    write_own_splits(tmp_path / "data", {"train": 30, "test": 4})
    report = prepare(tmp_path / "data", tmp_path / "out")
    assert sum(report["counts"]["val"].values()) > 3
    assert all(path.startswith("test/") for path in read_paths(tmp_path / "out", "test"))


def test_broken_files_are_listed_and_left_out(shapes, tmp_path):
    (shapes / "cercle/zero.png").touch()
    (shapes / "cercle/gone.png").symlink_to("nowhere")
    (shapes / "cercle/text.jpg").write_text("not an image")
    (shapes / "cercle/notes.txt").write_text("not even named like one")
    report = prepare(shapes, tmp_path / "out")
    with open(tmp_path / "out/rejected.csv", newline="", encoding="utf-8") as file:
        assert {row["path"]: row["reason"] for row in csv.DictReader(file)} == {
            "cercle/text.jpg": "not an image",
            "cercle/zero.png": "empty file",
            "cercle/gone.png": "No such file or directory",
        }
    assert report["rejected"] == 3
    assert "cercle/text.jpg" not in splits_of(tmp_path / "out")


def test_too_many_broken_files_are_an_error_and_keep_the_old_result(shapes, tmp_path, error_of):
    prepare(shapes, tmp_path / "out")
    before = (tmp_path / "out/report.json").read_bytes()
    for number in range(9):
        (shapes / f"cercle/{number}.png").touch()
    line = error_of("prepare", "--data", str(shapes), "--out", str(tmp_path / "out"))
    assert "at most 5% unusable files; got 9 of 99" in line
    assert "cercle/0.png: empty file" in line
    assert (tmp_path / "out/report.json").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


@pytest.mark.parametrize("full", [ArrayWriter, PixelCache])
def test_full_disk_leaves_nothing_half_written(full, shapes, tmp_path, error_of, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(full, "append" if full is ArrayWriter else "put", refuse)
    line = error_of("prepare", "--data", str(shapes), "--out", str(tmp_path / "out"))
    assert "expected enough disk space" in line
    assert "No space left" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shapes"]


def test_a_class_of_only_broken_files_is_an_error(shapes, tmp_path, error_of):
    (shapes / "broken").mkdir()
    (shapes / "broken/1.png").touch()
    assert "got none of 'broken' (broken: no usable file shows it)" in error_of(
        "prepare", "--data", str(shapes), "--out", str(tmp_path / "out")
    )


def test_a_class_too_small_for_every_split_is_a_warning(shapes, tmp_path, capsys):
    for path in sorted((shapes / "carré").iterdir())[2:]:
        path.unlink()
    prepare(shapes, tmp_path / "out")
    assert "no val example of carré: only 2 examples to draw from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: None, "; not found; run `make repro`"),
        (lambda data: data.mkdir(), "found none"),
        (lambda data: (data / "a").mkdir(parents=True), "found none"),
        (lambda data: write_shapes(data / "only"), "found"),
        (
            lambda data: [(data / name).mkdir(parents=True) or (data / name / "a.png").touch() for name in "ab"],
            "at most 5% unusable files; got 2 of 2",
        ),
        (lambda data: write_shapes(data, 1), "expected (train|val|test) examples"),
    ],
)
def test_unusable_data_is_reported(make, message, tmp_path, error_of):
    import re

    make(tmp_path / "data")
    if (tmp_path / "data/only").exists():
        for name in SHAPES[1:]:
            shutil.rmtree(tmp_path / "data/only" / name)
        (tmp_path / "data/only" / SHAPES[0]).rename(tmp_path / "data" / SHAPES[0])
        message = "two classes or more .* got only 'cercle'"
    assert re.search(message, error_of("prepare", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_large_images_are_packed_small(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("L", (600, 300 + number), number * 2 + (name == "b")).save(
                tmp_path / "data" / name / f"{number}.png"
            )
    report = prepare(tmp_path / "data", tmp_path / "out")
    assert report["input"]["image_size"] == [115, 224]
    assert report["input"]["channels"] == 1
    assert "40 of 40 images resized once" in capsys.readouterr().out
    report = prepare(tmp_path / "data", tmp_path / "out", "--image_size=[10,12]")
    assert report["input"]["image_size"] == [10, 12]


@pytest.mark.parametrize("size", [(), ("--image_size=[21,33]",)])
def test_a_margin_is_stored_and_later_stages_read_the_centre(size, shapes, tmp_path, capsys):
    plain, wide = (prepare(shapes, tmp_path / name, *size, f"--crop_margin={name}") for name in ("1", "1.25"))
    height, width = wide["input"]["image_size"]
    assert plain["input"]["image_size"] == [height, width] == plain["stored_size"]
    assert wide["stored_size"] == [round(1.25 * height), round(1.25 * width)]
    assert (
        f"images of {height}x{width} (stored as {'x'.join(map(str, wide['stored_size']))})" in capsys.readouterr().out
    )
    top, left = (wide["stored_size"][0] - height) // 2, (wide["stored_size"][1] - width) // 2
    for split in SPLITS:
        images = read_split(tmp_path / "1.25", split).images
        assert images.shape == read_split(tmp_path / "1", split).images.shape
        for path, image in zip(read_paths(tmp_path / "1.25", split), images, strict=True):
            stored = read_image(shapes / path, 3, tuple(wide["stored_size"]))
            assert np.array_equal(image, stored[top : top + height, left : left + width])


@pytest.mark.parametrize(
    "args", [(), ("--image_size=[16,20]",), ("--max_image_size=12",), ("--max_image_size=30",), ("--num_workers=2",)]
)
def test_rows_equal_what_predict_reads(args, shapes, tmp_path):
    """Rows are cached or read again, in this process or in others; some images are grey among colour images."""
    generator = np.random.default_rng(1)
    for number in range(70):
        Image.fromarray(generator.integers(0, 256, (20 + number % 30, 40), np.uint8)).save(
            shapes / "cercle" / f"grey {number}.png"
        )
    report = prepare(shapes, tmp_path / "out", *args)
    size = tuple(report["input"]["image_size"])
    for split in SPLITS:
        for path, row in zip(
            read_paths(tmp_path / "out", split), read_split(tmp_path / "out", split).images, strict=True
        ):
            assert np.array_equal(row, read_image(shapes / path, 3, size)), path


def test_jpeg_storage_keeps_the_bytes_of_plain_jpegs_and_encodes_the_rest(shapes, tmp_path, capsys):
    rotated = draw_shape("cercle", 31, 21, np.random.default_rng(5))
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated.save(shapes / "cercle" / "rotated.jpg", exif=exif, quality=95)
    rotated.convert("CMYK").rotate(180).save(shapes / "cercle" / "cmyk.jpg", quality=95)
    rotated.convert("L").save(shapes / "cercle" / "grey.jpg")
    report = prepare(shapes, tmp_path / "out", "--storage=jpeg", "--num_workers=2")
    pixels = prepare(shapes, tmp_path / "pixels")
    size = tuple(report["input"]["image_size"])
    assert report["input"] == pixels["input"] | {key: report["input"][key] for key in ("mean", "std")}
    assert np.allclose(report["input"]["mean"], pixels["input"]["mean"], atol=0.005)
    assert report["counts"] == pixels["counts"]
    assert report["stored"] == "JPEG files, 65 of 93 images re-encoded"
    assert report["stored"] in capsys.readouterr().out
    assert report["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.npy"))
    for split in SPLITS:
        images, labels = read_split(tmp_path / "out", split)
        content, offsets = (np.load(tmp_path / "out" / f"{split}.{kind}.npy") for kind in ("jpeg", "offsets"))
        paths = read_paths(tmp_path / "out", split)
        assert len(images) == len(labels) == len(paths) == len(offsets) - 1
        assert images.shape == read_split(tmp_path / "pixels", split).images.shape
        for row, path in enumerate(paths):
            kept = content[offsets[row] : offsets[row + 1]].tobytes() == (shapes / path).read_bytes()
            assert kept == (
                path.lower().endswith(("jpg", "jpeg")) and not path.endswith(("rotated.jpg", "cmyk.jpg"))
            ), path
            difference = np.abs(images[row].astype(int) - read_image(shapes / path, 3, size))
            # rounding, or the loss of quality 95 at edges
            assert difference.max() <= (2 if kept else 60), path
            assert difference.mean() < 3, path


def test_jpegs_that_change_while_they_are_read_are_reported(shapes, tmp_path, error_of, monkeypatch):
    from leyden.stages import prepare as stage

    def overwrite_files(*args: object) -> Duplicates:
        for path in shapes.glob("*/*.jpg"):
            path.write_bytes(b"no image")
        return Duplicates([], near_applies=True)

    monkeypatch.setattr(stage, "find_duplicates", overwrite_files)
    line = error_of("prepare", "--data", str(shapes), "--out", str(tmp_path / "out"), "--storage=jpeg")
    assert ".jpg to stay unchanged; it changed while it was read (not an image)" in line
    assert not (tmp_path / "out").exists()


def test_auto_stores_pixels_unless_they_are_too_many():
    assert choose_storage("auto", 500_000, (256, 256, 3)) == "pixels"
    assert choose_storage("auto", 510_000, (256, 256, 3)) == "jpeg"
    assert choose_storage("jpeg", 1, (8, 8, 1)) == "jpeg"
    assert choose_storage("pixels", 10**7, (256, 256, 3)) == "pixels"


def test_report_has_sizes_and_modes_and_each_class_has_a_contact_sheet(shapes, tmp_path):
    Image.new("L", (90, 18)).save(shapes / "cercle/wide.png")
    report = prepare(shapes, tmp_path / "out")
    files = report["files"]
    assert files["width"]["max"] == 90
    assert files["height"]["min"] == 18
    assert files["aspect_ratio"]["max"] == 5.0
    assert files["width"]["min"] <= files["width"]["median"] < 40
    assert files["modes"]["L"] == 1
    assert sum(files["modes"].values()) == 91
    height, width = report["input"]["image_size"]
    for index in range(3):
        with Image.open(tmp_path / "out/contact" / f"{index}.png") as sheet:
            assert sheet.size == (4 * width + 6, 4 * height + 6)
    train = read_split(tmp_path / "out", "train")
    with Image.open(tmp_path / "out/contact/1.png") as sheet:
        for row, column in ((0, 0), (0, 3), (2, 1)):
            cell = np.asarray(sheet)[row * (height + 2) :, column * (width + 2) :][:height, :width]
            assert np.array_equal(cell, train.images[train.targets == 1][row * 4 + column])


@pytest.mark.parametrize(
    "arg",
    [
        "--crop_margin=0.9",
        "--storage=png",
        "--num_workers=0",
        "--near_duplicate_distance=16",
        "--val_fraction=0",
        "--test_fraction=0.9",
    ],
)
def test_a_value_out_of_range_is_reported(arg, shapes, error_of):
    assert arg[2:].split("=")[0] in error_of(
        "prepare", "--data", str(shapes), "--out", str(shapes.with_name("out")), arg
    )


def test_report_and_labels_of_the_digits(in_trained):
    report = json.loads(Path("artifacts/prepare/report.json").read_text())
    assert {split: sum(counts.values()) for split, counts in report["counts"].items()} == {
        "train": 1154,
        "val": 293,
        "test": 350,
    }
    assert json.loads(Path("artifacts/prepare/labels.json").read_text()) == list("0123456789")
