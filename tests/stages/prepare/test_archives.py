"""Archives are read as if they were unpacked next to themselves."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from leyden.data.packed import SPLITS, read_split
from tests.conftest import SHAPES
from tests.stages.test_prepare import prepare, splits_of, write_own_splits


def pack(folder: Path, archive: Path, prefix: str = "") -> None:
    """Pack a folder's content in reverse order."""
    files = sorted((path for path in folder.rglob("*") if path.is_file()), reverse=True)
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as target:
            for path in files:
                target.write(path, prefix + path.relative_to(folder).as_posix())
            target.writestr("__MACOSX/._x.png", b"")
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix in (".gz", ".tgz") else "w") as target:
            for path in files:
                target.add(path, prefix + path.relative_to(folder).as_posix())


def examples(out: Path) -> set[tuple[str, int, bytes]]:
    return {(name, label, row.tobytes()) for name in SPLITS for row, label in zip(*read_split(out, name), strict=True)}


@pytest.mark.parametrize("prefix", ["", "./", "shapes/"])
@pytest.mark.parametrize("name", ["all.zip", "all.tar", "all.tar.gz", "All.TGZ"])
def test_an_archive_is_read_like_its_folder(name, prefix, shapes, tmp_path):
    plain = prepare(shapes, tmp_path / "plain", "--max_image_size=30")  # some images are read twice
    pack(shapes, tmp_path / "data" / name.replace("TGZ", "tgz"), prefix)
    packed = prepare(tmp_path / "data", tmp_path / "packed", "--max_image_size=30")
    assert packed["counts"] == plain["counts"]
    assert packed["input"] == plain["input"]
    assert examples(tmp_path / "packed") == examples(tmp_path / "plain")
    assert all(path.lower().startswith(name.lower() + "/") for path in splits_of(tmp_path / "packed"))


@pytest.mark.parametrize("prefix", ["", "own name/"])
def test_class_folders_and_class_archives_can_be_mixed(prefix, shapes, tmp_path):
    plain = prepare(shapes, tmp_path / "plain")
    inside = prefix.replace("own name", "cercle")
    pack(shapes / "cercle", shapes / "cercle.zip", inside)
    pack(shapes / "carré", shapes / "carré.tar.gz", prefix.replace("own name", "carré"))
    shutil.rmtree(shapes / "cercle")
    shutil.rmtree(shapes / "carré")
    assert prepare(shapes, tmp_path / "packed")["counts"] == plain["counts"]
    assert examples(tmp_path / "packed") == examples(tmp_path / "plain")


def test_archives_in_split_folders_and_split_folders_in_archives(tmp_path):
    write_own_splits(tmp_path / "plain", {"train": 6, "val": 3, "test": 4})
    pack(tmp_path / "plain", tmp_path / "one/all.tar")
    for split in SPLITS:
        for name in SHAPES:
            pack(tmp_path / "plain" / split / name, tmp_path / "parts" / split / f"{name}.zip")
    for data in ("one", "parts"):
        counts = prepare(tmp_path / data, tmp_path / "out")["counts"]
        assert {split: sum(by_label.values()) for split, by_label in counts.items()} == {
            "train": 18,
            "val": 9,
            "test": 12,
        }, data


@pytest.mark.parametrize("name", ["all.zip", "all.tar", "all.tar.gz"])
@pytest.mark.parametrize("damage", ["cut", "text", "empty", "flipped"])
def test_a_damaged_archive_is_reported(name, damage, shapes, tmp_path, error_of):
    archive = tmp_path / "data" / name
    pack(shapes, archive)
    content = archive.read_bytes()
    if damage == "flipped":
        # A tar has checksums of its headers alone.
        middle = content.find(b"cercle/", len(content) // 2) if name == "all.tar" else len(content) // 2
        flipped = bytes(255 - byte for byte in content[middle : middle + 200])
        content = content[:middle] + flipped + content[middle + 200 :]
    archive.write_bytes(
        {"cut": content[: len(content) // 2], "text": b"not an archive", "empty": b"", "flipped": content}[damage]
    )
    line = error_of("prepare", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"))
    assert "expected a complete archive" in line
    assert name in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "shapes"]
