"""Manifests give files labels, groups and splits, and each mistake in one is a clear one-line error."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from leyden.data.packed import read_paths
from tests.conftest import SHAPES, write_shapes
from tests.stages.prepare.test_archives import examples, pack
from tests.stages.test_prepare import prepare, splits_of, write_own_splits

LABELS = {"cercle": "round", "carré": "square", "big triangle": "triangle"}


def rows_of(data: Path) -> list[str]:
    return [f"{path.relative_to(data).as_posix()},{LABELS[path.parent.name]}" for path in sorted(data.glob("*/*"))]


def write_manifest(data: Path, rows: list[str], header: str = "path,label") -> None:
    text = "\n".join([header, *rows]) + "\n"
    (data / "manifest.csv").write_text(text, encoding="utf-8-sig")  # as a spreadsheet saves it


def test_a_manifest_names_files_and_labels(shapes, tmp_path):
    rows = rows_of(shapes)
    write_manifest(shapes, [f"./{row}" for row in reversed(rows)][10:])
    report = prepare(shapes, tmp_path / "out")
    assert report["labels"] == ["round", "square", "triangle"]
    assert set(splits_of(tmp_path / "out")) == {row.split(",")[0] for row in rows[:-10]}


def test_a_manifest_names_files_in_archives(shapes, tmp_path):
    rows = rows_of(shapes)
    pack(shapes, tmp_path / "data/all.tar.gz")  # in a different order than the rows: each must get its own content
    write_manifest(tmp_path / "data", [f"all.tar.gz/{row}" for row in rows])
    prepare(tmp_path / "data", tmp_path / "packed")
    write_manifest(shapes, rows)
    prepare(shapes, tmp_path / "plain")
    assert examples(tmp_path / "packed") == examples(tmp_path / "plain")


def test_splits_of_a_manifest_are_kept_and_missing_ones_drawn(shapes, tmp_path):
    splits = ["test", "train", "", "", ""]
    rows = [f"{row},{splits[number % 5]}" for number, row in enumerate(rows_of(shapes))]
    write_manifest(shapes, rows, "path,label,split")
    counts = prepare(shapes, tmp_path / "out")["counts"]
    assert sum(counts["test"].values()) == 18
    assert sum(counts["val"].values()) > 2
    named = {row.split(",")[0] for row in rows if row.endswith(",train")}
    assert named <= set(read_paths(tmp_path / "out", "train"))


@pytest.mark.parametrize(
    ("header", "change", "message"),
    [
        ("path,class", list, "got path,class; add label"),
        ("file,label", list, "got file,label; add path"),
        ("path,label", lambda rows: [], "got none; write some"),
        ("path,label", lambda rows: [rows[0].split(",")[0] + ",", *rows[1:]], "manifest.csv, row 2 lacks a label"),
        ("path,label", lambda rows: ["x.png", *rows], "manifest.csv, row 2 lacks a label"),
        ("path,label", lambda rows: [*rows, ",round"], "manifest.csv, row 92 lacks a path"),
        ("path,label", lambda rows: ["a.png,round", "b/c.png,round", *rows], "2 of 92 are missing (a.png, b/c.png)"),
        (
            "path,label",
            lambda rows: ["../shapes/x.png,round", *rows],
            "manifest.csv, row 2 has '../shapes/x.png'",
        ),
        ("path,label", lambda rows: [*rows, "/etc/passwd,round"], "manifest.csv, row 92 has '/etc/passwd'"),
        ("path,label", lambda rows: [*rows, f"./{rows[3]}"], "manifest.csv, row 92 names"),
        ("path,label", lambda rows: rows[:30], "got only 'triangle'"),
        ("path,label,split", lambda rows: [f"{row},holdout" for row in rows], "manifest.csv, row 2 has 'holdout'"),
        (
            "path,label,split",
            lambda rows: [f"{row},{'test' if 'round' in row else 'train'}" for row in rows],
            "got 'round' only in test",
        ),
    ],
)
def test_a_mistake_in_a_manifest_is_reported(
    header: str, change: Callable[[list[str]], list[str]], message: str, shapes, tmp_path, error_of
):
    write_manifest(shapes, change(rows_of(shapes)), header)
    assert message in error_of("prepare", "--data", str(shapes), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"path,label\n\xff\xfe,a\n", b"\x00\x01"])
def test_a_manifest_that_is_no_table_is_reported(content, shapes, tmp_path, error_of):
    (shapes / "manifest.csv").write_bytes(content)
    assert "manifest.csv" in error_of("prepare", "--data", str(shapes), "--out", str(tmp_path / "out"))


def test_a_label_only_in_test_is_reported(tmp_path, error_of):
    write_own_splits(tmp_path / "data", {"train": 6, "val": 3, "test": 4})
    shutil.rmtree(tmp_path / "data/train/cercle")
    shutil.rmtree(tmp_path / "data/val/cercle")
    assert "got 'cercle' only in test (test/cercle/" in error_of(
        "prepare", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_reported(shapes, tmp_path, error_of):
    (shapes / "cercle").chmod(0)
    try:
        line = error_of("prepare", "--data", str(shapes), "--out", str(tmp_path / "out"))
    finally:
        (shapes / "cercle").chmod(0o755)
    assert "cercle; got: Permission denied" in line


@pytest.mark.parametrize("name", ["cercle", "shapes"])
def test_an_error_of_listing_a_folder_is_reported(name, shapes, tmp_path, error_of, monkeypatch):
    """Like the test above, for root too."""

    def refuse(call: Callable[[str], object], folder: str) -> object:
        if Path(folder).name == name:
            raise PermissionError(13, "Permission denied", str(folder))
        return call(folder)

    for call in ("scandir", "listdir"):
        monkeypatch.setattr(os, call, partial(refuse, getattr(os, call)))
    assert f"{name}; got: Permission denied" in error_of(
        "prepare", "--data", str(shapes), "--out", str(tmp_path / "out")
    )


def test_a_link_to_a_parent_folder_is_not_followed_forever(tmp_path):
    write_shapes(tmp_path / "data", 12)
    (tmp_path / "data" / SHAPES[0] / "loop").symlink_to(tmp_path / "data")
    assert len(prepare(tmp_path / "data", tmp_path / "out")["labels"]) == 3
    assert len(splits_of(tmp_path / "out")) == 36
