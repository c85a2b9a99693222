"""Sequences are validated, split and packed like images."""

import csv
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from leyden.cli import main
from leyden.data.packed import read_examples, read_report
from leyden.data.sequences import Sequences
from leyden.stages.prepare.sequences import draw_curve, feature_statistics, make_thumbnail


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def data(sequences_prepared, tmp_path, monkeypatch):
    """Copy the sequences, so that a test may change them."""
    shutil.copytree(sequences_prepared / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def test_packed_values_equal_those_of_their_files(sequences_prepared):
    packed = sequences_prepared / "artifacts/prepare"
    rows = rows_of(packed / "manifest.csv")
    assert len(rows) == 150
    labels = json.loads((packed / "labels.json").read_text())
    for split in ("train", "val", "test"):
        sequences, targets = read_examples(packed, split)
        for number, row in enumerate(row for row in rows if row["split"] == split):
            if row["path"].endswith(".npy"):
                values, lengths = sequences[number : number + 1]
                original = np.load(sequences_prepared / "data" / row["path"]).astype(np.float32)
                assert np.array_equal(values[0], original)
                assert lengths[0] == len(original)
            assert labels[targets[number]] == row["label"]


def test_report_describes_the_training_values(sequences_prepared):
    report = read_report(sequences_prepared / "artifacts/prepare")
    train = read_examples(sequences_prepared / "artifacts/prepare", "train")[0].values
    assert report["input"]["features"] == 2
    assert np.allclose(report["input"]["mean"], train.mean(0), atol=1e-5)
    assert np.allclose(report["input"]["std"], train.std(0), rtol=1e-5)
    assert report["files"]["length"]["max"] <= 59
    assert set(report["files"]["modes"]) == {"csv", "float64"}
    with Image.open(sequences_prepared / "artifacts/prepare/contact/2.png") as sheet:
        assert sheet.size == (256, 256)
        assert len(sheet.getcolors(10_000)) > 3


def test_a_feature_is_drawn_over_the_whole_height_beside_one_of_larger_values():
    steps = np.arange(60.0)[:, None]
    cell = np.asarray(draw_curve(Sequences((steps * [1, -1000]).astype(np.float32), np.array([0, 60])), 0))
    is_blue = (cell == [0x1F, 0x77, 0xB4]).all(axis=2)
    assert is_blue.any(axis=1).sum() > 50


def test_statistics_are_accurate_with_a_large_offset():
    values = (1e6 + np.random.default_rng(0).normal(size=(100_000, 1))).astype(np.float32)
    mean, deviation = feature_statistics(values)
    assert abs(mean[0] - values.astype(np.float64).mean()) < 1e-3
    assert abs(deviation[0] - values.astype(np.float64).std()) < 1e-3
    assert feature_statistics(np.full((9, 1), 3.0, np.float32)) == ([3.0], [1.0])


def test_unusable_files_are_listed_with_their_reason(data):
    np.save(data / "up/other width.npy", np.ones((9, 5)))
    np.save(data / "up/nan.npy", np.array([[1, np.nan]]))
    np.save(data / "up/object.npy", np.array([None]), allow_pickle=True)
    (data / "up/empty.csv").touch()
    (data / "up/words.csv").write_text("a,b\n1,x\n")
    assert main(["prepare"]) == 0
    reasons = {row["path"]: row["reason"] for row in rows_of("artifacts/prepare/rejected.csv")}
    assert {path: reason.split(",")[0].split(" at")[0][:22] for path, reason in reasons.items()} == {
        "up/other width.npy": "5 features",
        "up/nan.npy": "step 0 holds NaN",
        "up/object.npy": "values of type object",
        "up/empty.csv": "empty file",
        "up/words.csv": "could not convert stri",
    }


def test_too_many_unusable_files_stop_the_stage(data, error_of):
    for number in range(20):
        (data / f"up/broken {number}.npy").write_bytes(b"\x93NUMPY")
    assert "expected at most 5% unusable files; got 20 of 170" in error_of("prepare")
    assert not (data.parent / "artifacts/prepare").exists()


def test_duplicates_stay_in_one_split_and_are_listed(data):
    for number in range(1, 12):
        name = f"{number}.npy" if number % 3 else f"{number}.csv"
        values = (
            np.load(data / "up" / name)
            if number % 3
            else np.loadtxt(data / "up" / name, delimiter=",", skiprows=number % 2, ndmin=2)
        )
        np.save(data / "up" / f"copy {number}.npy", values.astype(np.float32))
        np.save(data / "down" / f"near {number}.npy", values * 1.0001)
    assert main(["prepare"]) == 0
    split = {row["path"]: row["split"] for row in rows_of("artifacts/prepare/manifest.csv")}
    pairs = rows_of("artifacts/prepare/duplicates.csv")
    exact = {(row["path"], row["other"]) for row in pairs if row["kind"] == "exact"}
    assert len(exact) == 11
    assert all(split[path] == split[other] for path, other in exact)
    near = {tuple(sorted((row["path"], row["other"]))) for row in pairs if row["kind"] == "near"}
    long = [n for n in range(1, 12) if n % 3 and len(np.load(data / "up" / f"{n}.npy")) >= 16]
    assert long
    assert all(any(f"down/near {n}.npy" in pair for pair in near) for n in long)


def test_archives_and_manifests_hold_sequences_too(data, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(data.rglob("*.*")):
            archive.write(path, path.relative_to(data))
    assert main(["prepare"]) == 0
    plain = {row["path"]: (row["split"], row["sha256"]) for row in rows_of("artifacts/prepare/manifest.csv")}
    (tmp_path / "zipped").mkdir()
    (tmp_path / "all.zip").rename(tmp_path / "zipped/all.zip")
    assert main(["prepare", "--data=zipped"]) == 0
    zipped = {
        row["path"].removeprefix("all.zip/"): (row["split"], row["sha256"])
        for row in rows_of("artifacts/prepare/manifest.csv")
    }
    assert zipped == plain
    lines = [
        "path,label,group",
        *(f"{path},{path.split('/')[0]},{number % 40}" for number, path in enumerate(sorted(plain))),
    ]
    (data / "manifest.csv").write_text("\n".join(lines))
    assert main(["prepare", "--seed=3"]) == 0
    groups: dict[str, set[str]] = {}
    for row in rows_of("artifacts/prepare/manifest.csv"):
        groups.setdefault(row["group"], set()).add(row["split"])
    assert len(groups) == 40
    assert all(len(splits) == 1 for splits in groups.values())


def test_tables_next_to_images_are_not_examples(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (shapes / "cercle/notes.csv").write_text("1,2\n")
    assert main(["prepare", f"--data={shapes}"]) == 0
    assert "image_size" in read_report("artifacts/prepare")["input"]


def test_thumbnails_do_not_depend_on_length_or_scale():
    time = np.linspace(0, 6, 50)[:, None]
    curve = np.frombuffer(make_thumbnail(np.sin(time)), np.uint8).astype(int)
    longer = np.frombuffer(make_thumbnail(5 * np.sin(np.linspace(0, 6, 500))[:, None]), np.uint8).astype(int)
    assert np.abs(curve - longer).max() < 20
    assert curve.max() == 255
    assert curve.min() == 0


def test_thumbnails_show_each_feature_in_its_own_range():
    values = np.column_stack([np.arange(300), -1e6 * np.arange(300), np.full(300, 7)])
    rising, falling, constant = np.frombuffer(make_thumbnail(values), np.uint8).astype(int).reshape(3, 96)
    assert (np.diff(rising) > 0).all()
    assert (rising == falling[::-1]).all()
    assert not constant.any()
    assert {len(make_thumbnail(np.ones((5, width)))) for width in (1, 7, 200)} == {288}
