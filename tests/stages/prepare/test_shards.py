"""Training images in litdata shards are the same as in packed arrays, with the same labels and splits."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from leyden.cli import main
from leyden.data.packed import ArrayWriter, read_paths, read_report, read_split
from leyden.data.shards import ShardFolder
from leyden.errors import UserError
from leyden.stages.prepare import shards as shards_module

pytest.importorskip("litdata", reason="of the optional group 'streaming'")
ARGS = ("--shard_mb=0.02", "--image_size=[20,30]")  # 11 images to a shard


def prepare(data: Path, out: Path, *args: str) -> dict:
    assert main(["prepare", "--data", str(data), "--out", str(out), *ARGS, *args]) == 0
    return read_report(out)


def examples_of(location: str, shape: tuple[int, int, int]) -> list[tuple[bytes, int]]:
    folder = ShardFolder(location, shape, Path("unused"), 0)
    images, labels = folder.gather(np.arange(folder.counts.sum()))
    return [(image.tobytes(), label) for image, label in zip(images, labels.tolist(), strict=True)]


def test_shards_hold_the_same_examples_as_the_training_array(shapes, tmp_path):
    packed = prepare(shapes, tmp_path / "packed")
    sharded = prepare(shapes, tmp_path / "sharded", f"--shards={tmp_path}/shards")
    images, labels = read_split(tmp_path / "packed", "train")
    expected = [(image.tobytes(), label) for image, label in zip(images, labels.tolist(), strict=True)]
    found = examples_of(sharded["shards"], (20, 30, 3))
    assert sorted(found) == sorted(expected)
    assert found != expected
    for name in ("manifest.csv", "labels.json", "rejected.csv", "val.images.npy", "test.targets.npy"):
        assert (tmp_path / "packed" / name).read_bytes() == (tmp_path / "sharded" / name).read_bytes(), name
    assert sharded["input"] == packed["input"]
    assert sharded["counts"] == packed["counts"]
    packed_names, sharded_names = ({path.name for path in (tmp_path / n).rglob("*")} for n in ("packed", "sharded"))
    assert packed_names - sharded_names == {"train.images.npy", "train.targets.npy"}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # litdata's reader does not close its files
def test_litdata_reads_the_shards(shapes, tmp_path):
    from litdata.streaming.cache import Cache
    from litdata.streaming.sampler import ChunkedIndex

    location = prepare(shapes, tmp_path / "out", f"--shards={tmp_path}/shards")["shards"]
    cache = Cache(location, chunk_bytes=1)
    found = [cache[ChunkedIndex(*cache._get_chunk_index_from_index(number))] for number in range(len(cache))]
    cache._reader._item_loader.close(0)
    assert [(image.tobytes(), label) for image, label in found] == examples_of(location, (20, 30, 3))


def test_a_shard_holds_all_classes(shapes, tmp_path):
    location = prepare(shapes, tmp_path / "out", f"--shards={tmp_path}/shards")["shards"]
    labels = [label for _, label in examples_of(location, (20, 30, 3))]
    assert all(set(labels[start : start + 11]) == {0, 1, 2} for start in range(0, 44, 11))


def test_location_and_bytes_are_a_function_of_the_data(shapes, tmp_path):
    report = prepare(shapes, tmp_path / "a", f"--shards={tmp_path}/shards")
    first = {path.name: path.read_bytes() for path in Path(report["shards"]).iterdir()}
    assert prepare(shapes, tmp_path / "b", f"--shards={tmp_path}/shards") == report
    assert {path.name: path.read_bytes() for path in Path(report["shards"]).iterdir()} == first
    next((shapes / "carré").iterdir()).unlink()
    other = prepare(shapes, tmp_path / "c", f"--shards={tmp_path}/shards")
    assert other["shards"] != report["shards"]
    assert other["data_hash"] != report["data_hash"]
    assert len(examples_of(report["shards"], (20, 30, 3))) == sum(report["counts"]["train"].values())


@pytest.mark.parametrize(
    "failing", [(ArrayWriter, "append"), (shards_module.ShardWriter, "append"), (shards_module.ShardWriter, "close")]
)
def test_a_full_disk_leaves_nothing_half_written(failing, shapes, tmp_path, error_of, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*failing, refuse)
    assert "No space left" in error_of(
        "prepare", "--data", str(shapes), "--out", str(tmp_path / "out"), f"--shards={tmp_path}/shards", *ARGS
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(shapes)]


def test_without_litdata_the_error_says_what_to_install(shapes, tmp_path, error_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "litdata", None)
    line = error_of("prepare", "--data", str(shapes), "--out", str(tmp_path / "out"), "--shards=shards")
    assert "install leyden[streaming]" in line


def test_archives_and_invalid_sizes_are_rejected(shapes, tmp_path, error_of):
    import shutil

    args = ("prepare", "--out", str(tmp_path / "out"), "--shards=shards")
    assert "prepare.shard_mb must lie in (0, 10000]; got 0" in error_of(*args, "--data", str(shapes), "--shard_mb=0")
    shutil.make_archive(str(tmp_path / "zipped/all"), "zip", shapes)
    assert "got the archive all.zip; unpack it" in error_of(*args, "--data", str(tmp_path / "zipped"))


def test_reading_packed_training_images_that_are_in_shards_is_an_error(shapes, tmp_path):
    prepare(shapes, tmp_path / "out", f"--shards={tmp_path}/shards")
    with pytest.raises(UserError, match=r"set data\.class_path to leyden\.StreamedImageData"):
        read_split(tmp_path / "out", "train")
    assert len(read_split(tmp_path / "out", "test").images) == len(read_paths(tmp_path / "out", "test"))


def test_a_damaged_shard_is_reported(shapes, tmp_path):
    report = prepare(shapes, tmp_path / "out", f"--shards={tmp_path}/shards")
    index = json.loads(Path(report["shards"], "index.json").read_text())
    shard = Path(report["shards"], index["chunks"][1]["filename"])
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{shard.name}; it is damaged"):
        examples_of(report["shards"], (20, 30, 3))
