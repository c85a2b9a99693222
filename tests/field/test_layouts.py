"""Folders are read as the user meant them, or refused; whatever is left out is counted and named."""

import tarfile
import unicodedata
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from leyden.cli import main
from leyden.data.packed import read_paths, read_report

NFD = unicodedata.normalize("NFD", "caf\u00e9")


def write_images(folder: Path, count: int = 20, suffix: str = ".png") -> None:
    """Write images that are different in every folder."""
    folder.mkdir(parents=True, exist_ok=True)
    seed = list(str(folder).partition("/data")[2].encode())
    for number in range(count):
        pixels = np.random.default_rng([*seed, number]).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}{suffix}")


def write_folders(data: Path, folders: Iterable[str], count: int = 20) -> Path:
    for folder in folders:
        write_images(data / folder, count)
    return data


def prepare(data: Path, *args: str) -> dict:
    assert main(["prepare", "--data", str(data), "--out", str(data.with_name("out")), *args]) == 0
    return read_report(data.with_name("out"))


@pytest.fixture
def refusal_of(error_of):
    return lambda data: error_of("prepare", "--data", str(data), "--out", str(data.with_name("out")))


@pytest.mark.parametrize(
    "names",
    [
        ("train", "valid", "test"),
        ("Train", "Validation", "Testing"),
        ("TRAINING", "DEV", "TEST"),
        ("training_set", "val-set", "test data"),
    ],
)
def test_the_usual_spellings_of_splits_are_splits(names, tmp_path):
    data = write_folders(tmp_path / "data", [f"{name}/{label}" for name in names for label in ("cat", "dog")])
    report = prepare(data)
    assert report["labels"] == ["cat", "dog"]
    assert {split: sum(counts.values()) for split, counts in report["counts"].items()} == {
        "train": 40,
        "val": 40,
        "test": 40,
    }
    assert all(path.startswith(names[2] + "/") for path in read_paths(tmp_path / "out", "test"))


@pytest.mark.parametrize(
    "folders",
    [
        ["train/cat", "train/dog", "val/cat", "val/dog", "unlabeled"],
        ["train/cat", "train/dog", "extra/cat", "extra/dog"],
        ["cat", "dog", "test"],
    ],
)
def test_splits_beside_other_folders_are_refused(folders, tmp_path, refusal_of):
    line = refusal_of(write_folders(tmp_path / "data", folders))
    tops = {folder.split("/")[0] for folder in folders}
    assert all(repr(top) in line for top in tops)
    assert "got both" in line and "manifest.csv" in line


@pytest.mark.parametrize(
    "folders",
    [
        ["fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"],
        ["a/cat", "a/dog", "b/cat", "b/dog", "b/bird", "c"],
        ["seg_a/seg_a/sea", "seg_a/seg_a/hill", "seg_b/seg_b/sea", "seg_b/seg_b/hill"],
        ["cat/train", "cat/test", "dog/train", "dog/test"],
        ["train/fold1/cat", "train/fold1/dog", "train/fold2/cat", "train/fold2/dog"],
    ],
)
def test_folders_with_the_same_folders_inside_are_refused(folders, tmp_path, refusal_of):
    line = refusal_of(write_folders(tmp_path / "data", folders, 2))
    assert all(repr(name) in line for name in [folders[0].split("/")[-1], *folders[3].split("/")[-2:]])


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (
            ["asl_train/asl_train/A", "asl_train/asl_train/B", "asl_test/asl_test"],
            "'asl_test', 'asl_train', which look",
        ),
        (["train2017", "val2017"], "'train2017', 'val2017', which look like splits"),
        (["training_set/training_set/cat", "test_set/test_set/dog"], "got 'test_set', which is no name of a class"),
        (["images", "thumbs"], "got 'images', which is no name of a class"),
        (["images", "labels"], "such as images/0.png,labels/0.png, or set class_depth"),
        (["p1/benign", "p2/benign", "p3/malignant", "p4/malignant"], "('benign', 'malignant'), which look like"),
        (["dataset/train/cat", "dataset/test/cat"], "if 'test', 'train' inside it are the classes or the splits, move"),
        (["train/images/cat", "train/images/dog"], "if 'cat', 'dog' inside it are the classes"),
        (["photos/cat", "photos/dog"], "if 'cat', 'dog' inside it are the classes"),
    ],
)
def test_folders_that_are_no_classes_are_refused(folders, expected, tmp_path, refusal_of):
    assert expected in refusal_of(write_folders(tmp_path / "data", folders, 2))


@pytest.mark.parametrize(
    "folders",
    [
        ["cat", "cat/indoor", "cat/outdoor", "dog", "dog/indoor", "dog/outdoor"],
        ["cat/a/b/c", "dog/a/b/c"],
        ["cat/monday", "cat/tuesday", "dog/monday", "dog/friday", "dog/sunday"],
        ["train/cat/a/b", "train/dog/a/b", "test/cat/a/b", "test/dog/a/b"],
    ],
)
def test_folders_inside_of_classes_may_have_the_same_names(folders, tmp_path):
    assert prepare(write_folders(tmp_path / "data", folders))["labels"] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("folders", "depth", "labels"),
    [
        (["cat/indoor", "cat/outdoor", "dog/indoor", "dog/outdoor"], 1, ["cat", "dog"]),
        (["fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"], 2, ["cat", "dog"]),
        (["cat", "dog", "test"], 1, ["cat", "dog", "test"]),
        (["images", "labels"], 1, ["images", "labels"]),
        (["cat/train", "cat/test", "dog/train", "dog/test"], 1, ["cat", "dog"]),
        (["train/cat/in", "train/cat/out", "train/dog/in", "train/dog/out", "test/cat/in"], 2, ["cat", "dog"]),
    ],
)
def test_the_user_can_say_which_folders_are_the_classes(folders, depth, labels, tmp_path, refusal_of):
    data = write_folders(tmp_path / "data", folders)
    assert "class_depth" in refusal_of(data)
    report = prepare(data, f"--class_depth={depth}")
    assert report["labels"] == labels
    assert sum(sum(counts.values()) for counts in report["counts"].values()) == 20 * len(folders)
    if folders[-1] == "test/cat/in":
        assert sum(report["counts"]["test"].values()) == 20


def test_class_depth_is_not_ignored_in_silence(tmp_path, capsys, refusal_of):
    data = write_folders(tmp_path / "data", ["train/cat", "train/dog", "extra/cat"])
    rows = "".join(f"train/{label}/{n}.png,{label}\n" for label in ("cat", "dog") for n in range(20))
    assert "got both" in refusal_of(data) and "--class_depth" not in refusal_of(data)
    assert main(["prepare", f"--data={data}", f"--out={tmp_path}/out", "--class_depth=2"]) == 2
    (data / "manifest.csv").write_text("path,label\n" + rows)
    prepare(data, "--class_depth=1")
    assert "class_depth is of no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    "folders",
    [
        ["cat/train", "cat/test", "dog"],
        ["cat/Training", "cat/Validation", "dog/Training", "dog/test"],
        ["train/cat/train", "train/cat/val", "train/dog", "test/cat", "test/dog"],
        ["cat/a/train", "cat/a/test", "dog/b"],
    ],
)
def test_splits_inside_of_a_class_are_refused(folders, tmp_path, refusal_of):
    line = refusal_of(write_folders(tmp_path / "data", folders, 2))
    assert "inside of 'cat'" in line and "; move the splits to the top (train/cat)" in line
    assert all(repr(folder.split("/")[-1]) in line for folder in folders[:2])


def test_a_class_may_have_one_folder_named_like_a_split(tmp_path):
    data = write_folders(tmp_path / "data", ["toy/train", "toy/car", "animal/cat"])
    assert prepare(data)["labels"] == ["animal", "toy"]


def test_classes_may_have_words_for_splits_in_their_names(tmp_path):
    names = ["bullet_train", "cat", "train_station"]
    assert prepare(write_folders(tmp_path / "data", names))["labels"] == names


def test_two_spellings_of_one_split_are_refused(tmp_path, refusal_of):
    folders = [f"{name}/{label}" for name in ("train", "val", "valid") for label in ("cat", "dog")]
    assert "one val folder" in refusal_of(write_folders(tmp_path / "data", folders))


def test_deeper_folders_belong_to_their_class(tmp_path):
    folders = ["cat/images/monday", "cat/images/tuesday", "dog/images/friday"]
    assert prepare(write_folders(tmp_path / "data", folders))["labels"] == ["cat", "dog"]


def test_whatever_is_left_out_is_counted_and_named_once(tmp_path, capsys):
    data = write_folders(tmp_path / "data", ["cat", "dog"])
    write_images(data / "cat" / ".thumbnails", 2)
    write_images(data / "@eaDir", 1)
    write_images(data, 1)
    (data / "empty").mkdir()
    for name in ("0.HEIC", "1.heic", "notes.txt", "README.txt", "Thumbs.db", "noname", ".DS_Store"):
        (data / "cat" / name).write_bytes(b"x")
    (data / "birds").mkdir()
    (data / "birds" / "0.cr2").touch()
    np.save(data / "dog" / "trace.npy", np.zeros((3, 2)))
    left_out = {row["reason"]: (row["count"], row["examples"]) for row in prepare(data)["left_out"]}
    assert left_out == {
        "hidden files": (3, ["@eaDir", "cat/.DS_Store", "cat/.thumbnails"]),
        "documentation and system files": (2, ["cat/README.txt", "cat/Thumbs.db"]),
        ".heic files (install pillow-heif to read them)": (2, ["cat/0.HEIC", "cat/1.heic"]),
        ".txt files (not images)": (1, ["cat/notes.txt"]),
        ".cr2 files (not images)": (1, ["birds/0.cr2"]),
        "files without suffix": (1, ["cat/noname"]),
        "sequences beside more images": (1, ["dog/trace.npy"]),
        "files outside of the class folders": (1, ["0.png"]),
        "empty class folders": (1, ["empty"]),
        "class folders of other files only": (1, ["birds"]),
    }
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 1
    assert "prepare: warning: left out: 2 .heic files (install pillow-heif to read them): cat/0.HEIC" in lines[0]
    assert "README" not in lines[0] and "hidden" not in lines[0]


def test_ordinary_data_is_prepared_without_a_warning(tmp_path, capsys):
    data = write_folders(tmp_path / "data", [f"{s}/{label}" for s in ("train", "val", "test") for label in "ab"], 3)
    (data / "README.md").write_text("The data.")
    (data / ".gitignore").touch()
    assert [row["count"] for row in prepare(data)["left_out"]] == [1, 1]
    assert capsys.readouterr().err == ""


def test_images_without_a_class_in_a_split_are_named(tmp_path):
    data = write_folders(tmp_path / "data", ["train/cat", "train/dog", "test"])
    report = prepare(data)
    assert report["left_out"][0]["reason"] == "files in a split's folder without a class folder"
    assert [row["count"] for row in report["left_out"]] == [20]
    assert min(sum(counts.values()) for counts in report["counts"].values()) > 0


def test_the_fewer_of_images_and_sequences_are_named(tmp_path):
    data = tmp_path / "data"
    for label, offset in (("up", 1.0), ("down", -1.0)):
        write_images(data / label, 1)
        for number in range(20):
            np.save(data / label / f"{number}.npy", np.arange(20.0)[:, None] * offset + number)
    left_out = prepare(data)["left_out"]
    assert [(row["reason"], row["count"]) for row in left_out] == [("images beside more sequences", 2)]


def test_tables_that_are_not_read_are_named(tmp_path, capsys):
    data = write_folders(tmp_path / "data", ["cat", "dog"])
    (data / "labels.csv").write_text("id,label\n0,cat\n")
    prepare(data)
    assert "1 table (of them, only manifest.csv of path,label is read): labels.csv" in capsys.readouterr().err


def test_nothing_readable_says_what_was_found(tmp_path, refusal_of):
    (tmp_path / "data/cat").mkdir(parents=True)
    (tmp_path / "data/cat/0.heic").touch()
    line = refusal_of(tmp_path / "data")
    assert "1 .heic file (install pillow-heif to read them): cat/0.heic" in line


def test_more_suffixes_are_read(tmp_path):
    data = tmp_path / "data"
    suffixes = [".jfif", ".jpe", ".JPG", *([".avif"] if features.check("avif") else [])]
    for suffix in suffixes:
        for label in ("cat", "dog"):
            write_images(data / label / f"{label} {suffix[1:]}", 10, suffix)
    assert sum(sum(counts.values()) for counts in prepare(data)["counts"].values()) == 20 * len(suffixes)


def test_labels_that_look_the_same_are_one_class(tmp_path, capsys):
    data = write_folders(tmp_path / "data", [NFD, "caf\u00e9", "caf\u00e9 ", "Dog", "dog"])
    assert prepare(data)["labels"] == ["Dog", "caf\u00e9", "dog"]
    errors = capsys.readouterr().err
    assert "classes 'Dog', 'dog' differ only by case" in errors
    assert "became one class" in errors


@pytest.mark.parametrize(
    "names", [("black cat", "black\u00a0cat"), ("black cat", "black  cat"), ("cat", "ca\u200bt"), ("fine", "\ufb01ne")]
)
def test_different_labels_that_look_the_same_are_named(names, tmp_path, capsys):
    assert len(prepare(write_folders(tmp_path / "data", [*names, "dog"]))["labels"]) == 3
    error = capsys.readouterr().err
    assert all(ascii(name) in error for name in names)
    assert "differ only by spaces or characters that look alike" in error


def test_links_to_nothing_are_named(tmp_path, capsys):
    data = write_folders(tmp_path / "data", ["cat", "dog"])
    (data / "bird").symlink_to("not mounted")
    assert {row["reason"] for row in prepare(data)["left_out"]} == {"links to nothing"}
    assert "left out: 1 link to nothing: bird" in capsys.readouterr().err


def test_members_of_archives_that_are_left_out_are_named(tmp_path, capsys):
    data = write_folders(tmp_path / "data", ["cat", "dog"])
    image = (data / "cat/0.png").read_bytes()
    with zipfile.ZipFile(data / "cat/more.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of the name
        for name in ("a.png", "a.png", "../b.png", "x/../c.png"):
            archive.writestr(name, image)
    with tarfile.open(data / "dog/more.tar", "w") as tar:
        tar.add(data / "dog/0.png", "a.png")
        tar.add(data / "dog/1.png", "a.png")
    assert {row["reason"]: row["count"] for row in prepare(data)["left_out"]} == {
        "archive members of the same name as another": 2,
        "archive members outside of the archive's folder": 2,
    }
    assert "2 archive members of the same name as another: cat/more.zip/a.png, dog/more.tar/a.png" in (
        capsys.readouterr().err
    )


def test_an_encrypted_archive_is_refused(tmp_path, refusal_of):
    data = write_folders(tmp_path / "data", ["cat", "dog"], 1)
    with zipfile.ZipFile(data / "cat/more.zip", "w") as archive:
        archive.writestr("a.png", b"")
    content = bytearray((data / "cat/more.zip").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    (data / "cat/more.zip").write_bytes(content)
    assert "cannot be read (it is encrypted)" in refusal_of(data)


def test_predict_counts_what_it_leaves_out(in_trained, tmp_path, capsys):
    folder = tmp_path / "photos"
    write_images(folder, 3)
    for name in ("3.heic", "4.HEIC", "notes.txt", ".hidden.png", "README.md"):
        (folder / name).write_bytes(b"x")
    assert main(["predict", "artifacts/train/model.ckpt", str(folder), "--out", str(tmp_path / "p.csv")]) == 0
    printed = capsys.readouterr().out
    assert "3 files predicted, 0 failed; left out: 2 .heic files (install pillow-heif to read them): " in printed
    assert "; 1 .txt file (" in printed
    assert "README" not in printed
