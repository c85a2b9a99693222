"""Files made to fill the memory, or to be read forever, are rows with a reason or one line."""

import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from leyden.cli import main
from leyden.data.listing import LeftOut, walk_files
from leyden.data.sequences import UnreadableSequenceError, read_sequence
from leyden.files.tables import read_table
from tests.field.test_layouts import write_folders

HUGE = 3 << 30


@pytest.fixture
def data(tmp_path):
    return write_folders(tmp_path / "data", ["cat", "dog"])


def rejected(data: Path) -> dict[str, str]:
    args = ["--data", str(data), "--out", str(data.with_name("out")), "--max_rejected_fraction=0.5"]
    assert main(["prepare", *args]) == 0
    return {row["path"]: row["reason"] for row in read_table(data.with_name("out") / "rejected.csv", "prepare")}


def write_special_files(folder: Path) -> None:
    (folder / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "huge.png").touch()
    os.truncate(folder / "huge.png", HUGE)


REASONS = {
    "huge.png": "larger than 1,000 MB",
    "loop.png": "Too many levels of symbolic links",
    "pipe.png": "not a regular file",
    "zero.png": "not a regular file",
}


def test_prepare_reads_regular_files_of_a_limited_size(data):
    write_special_files(data / "cat")
    assert rejected(data) == {f"cat/{name}": reason for name, reason in REASONS.items()}


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def pax_header(**values: int) -> bytes:
    records = b"".join(b"%d %s=%d\n" % (len(f"{k}={v}") + 5, k.encode(), v) for k, v in values.items())
    assert len(records) >= 10
    return header("pax", len(records), tarfile.XHDTYPE) + records.ljust(512, b"\0")


def negative_header() -> bytes:
    block = bytearray(header("a.png", 10))
    block[124:136] = b"\xff" * 10 + b"\xfc\x00"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_large_member_of_an_archive_is_a_row(data):
    with zipfile.ZipFile(data / "cat/more.zip", "w") as archive:
        archive.writestr("x.png", b"x")
        archive.writestr("huge.png", b"x")
        archive.infolist()[1].file_size = HUGE
    with open(data / "dog/more.tar", "wb") as file:
        file.write(header("huge.png", HUGE))
        file.truncate(HUGE + 1024 + tarfile.RECORDSIZE)
    assert rejected(data) == {
        "cat/more.zip/x.png": "not an image",
        "cat/more.zip/huge.png": "larger than 1,000 MB",
        "dog/more.tar/huge.png": "larger than 1,000 MB",
    }


def test_links_and_devices_in_archives_are_left_out(data, capsys):
    with tarfile.open(data / "cat/more.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with zipfile.ZipFile(data / "dog/more.zip", "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert rejected(data) == {}
    assert "5 archive members other than files" in capsys.readouterr().err


def test_links_to_folders_of_links_are_followed_a_limited_number_of_times(data, tmp_path, capsys):
    before = data / "cat"
    for level in range(12):
        folder = tmp_path / str(level)
        folder.mkdir()
        for name in "abc":
            (folder / name).symlink_to(before)
        before = folder
    (data / "bird").symlink_to(before)
    assert len(list(walk_files(data, left_out := LeftOut()))) < 3000
    assert left_out.rows()[0]["reason"] == "folders that more than 100 links lead to"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.tar", header("x", 1 << 34, tarfile.XHDTYPE)),
        ("c.tar", header("x", 1 << 34, tarfile.GNUTYPE_LONGNAME)),
        ("c.tar", negative_header()),
        ("c.tar", pax_header(size=-1024) + header("c.png", 0)),
        ("c.tar", header("a.png", 1 << 40)),
    ],
)
def test_an_archive_made_to_exhaust_the_machine_is_refused(name, content, data, error_of):
    (data / name).write_bytes(content + bytes(10240))
    line = error_of("prepare", "--data", str(data), "--out", str(data.with_name("out")))
    assert "expected a complete archive" in line


def test_a_zip_that_expands_without_end_is_refused(data, error_of):
    with zipfile.ZipFile(data / "c.zip", "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}.png", b"x")
            archive.infolist()[number].file_size = 1 << 30
    line = error_of("prepare", "--data", str(data), "--out", str(data.with_name("out")))
    assert "expand to 21 GB or more" in line


@pytest.mark.parametrize("name", ["c.zip", "c.tar", "manifest.csv"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_archives_and_manifests_are_regular_files(name, kind, data, error_of):
    if kind == "pipe":
        os.mkfifo(data / name)
    else:
        (data / name).symlink_to("/dev/zero")
    assert "not a regular file" in error_of("prepare", "--data", str(data), "--out", str(data.with_name("out")))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"path,label\n" + b"x" * 2_000_000, "a line of more than 1,000,000 characters"),
        (b"path,label\n" + b"x," * 1_000_000, "a line of more than 1,000,000 characters"),
        (b'path,label\n"' + b"\n" * 200_000, "field larger than field limit"),
    ],
)
def test_a_manifest_without_end_is_refused(content, expected, data, error_of):
    (data / "manifest.csv").write_bytes(content)
    assert expected in error_of("prepare", "--data", str(data), "--out", str(data.with_name("out")))


def npy(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    encoded = text.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(encoded)) + encoded


@pytest.mark.parametrize(
    "content",
    [
        *(
            npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}")
            for shape in ("(10**20, 0)", f"({10**20}, 0)", f"(0, {10**20})", "(-1, 2)", "(-2, -2)", "(1,)*99", "()")
        ),
        npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**12},)}}"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"),
        npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}") + bytes(4),
        npy("{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (1,)}") + bytes(8),
        npy("{'descr': '|V0', 'fortran_order': False, 'shape': (1,)}"),
        npy("{1: 2, 'shape': (1,), 'descr': '<f4'}"),
        npy("(" * 5000),
        npy("-" * 9000 + "1"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", (9, 9)),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        b"1,2\n" + b"1" * 200_000 + b"\n",
        b"x" * 200_000 + b"\n1\n",
        b'"' + b"1\n" * 200_000,
    ],
)
def test_a_sequence_with_an_impossible_header_has_a_reason(content):
    with pytest.raises(UnreadableSequenceError) as error:
        read_sequence(content)
    assert len(str(error.value)) < 200


def test_a_sequence_has_a_limited_number_of_values(monkeypatch):
    monkeypatch.setattr("leyden.data.sequences.MAX_VALUES", 100)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(101, np.int8))
    for content in (buffer.getvalue(), b"1\n" * 101, b"1,2,3,4,5,6\n" * 20):
        with pytest.raises(UnreadableSequenceError, match="more than 100 values"):
            read_sequence(content)
    assert read_sequence(b"1,2\n" * 49)[0].shape == (49, 2)


def test_predict_reads_regular_files_of_a_limited_size(in_trained, tmp_path):
    write_special_files(tmp_path)
    names = [str(tmp_path / name) for name in REASONS]
    assert main(["predict", "artifacts/train/model.ckpt", *names, "--out", str(tmp_path / "p.csv")]) == 0
    assert [row["error"] for row in read_table(tmp_path / "p.csv", "predict")] == list(REASONS.values())
