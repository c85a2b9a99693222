"""Zip archives that are damaged, or that two readers could read differently, are refused even with trust."""

import io
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from leyden.runtimes.program import INPUTS
from tests.trust.tampering import assert_refused, edit_checkpoint, flip_bit, rewrite


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a\\..\\x", "C:x"])
@pytest.mark.parametrize("source", ["model.ckpt", "model.pt2", "model.torchscript"])
def test_a_member_outside_the_folder_is_refused_even_with_trust(folder, source, name):
    evil = Path(f"evil{Path(source).suffix}")
    with zipfile.ZipFile(shutil.copy(folder / source, evil), "a") as archive:
        archive.writestr(name, b"x")
    for trust in (False, True):
        assert_refused(evil, "could be written or read elsewhere", trust)


@pytest.mark.parametrize("source", ["model.ckpt", "model.pt2", "model.torchscript"])
def test_a_member_marked_as_a_folder_is_refused(folder, source):
    """torch would read nothing from it, and compute with uninitialised memory."""
    with zipfile.ZipFile(folder / source) as archive:
        entry = archive.start_dir
    flip_bit(folder / source, Path(f"evil{Path(source).suffix}"), entry + 38, 0x10)
    assert_refused(Path(f"evil{Path(source).suffix}"), "the checksum or size of .* is wrong", trust=True)


def test_a_decompression_bomb_is_refused_unread(folder):
    with zipfile.ZipFile(shutil.copy(folder / "model.ckpt", "evil.ckpt"), "a") as archive:
        archive.writestr("x", bytes(64 << 20), zipfile.ZIP_DEFLATED)
    assert_refused(Path("evil.ckpt"), "the checksum or size of the whole archive is wrong")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("spelling", [str, str.upper])
def test_two_members_with_the_same_name_are_refused(folder, spelling):
    with zipfile.ZipFile(shutil.copy(folder / "model.pt2", "evil.pt2"), "a") as archive:
        archive.writestr(spelling(archive.namelist()[-1]), b"x")
    assert_refused(Path("evil.pt2"), "could be written or read elsewhere", trust=True)


@pytest.mark.parametrize("source", ["model.ckpt", "model.pt2", "model.torchscript"])
@pytest.mark.parametrize("place", ["before", "after", "comment"])
def test_an_archive_beside_or_inside_another_is_refused(folder, source, place):
    """Two readers could each find a different one."""
    evil, content = Path(f"evil{Path(source).suffix}"), (folder / source).read_bytes()
    shutil.copy(folder / source, evil)
    if place == "comment":
        with zipfile.ZipFile(evil, "a") as archive:
            archive.comment = content[-1000:]
    else:
        evil.write_bytes(content + b"x" if place == "after" else b"x" + content)
    assert_refused(evil, "checksum or size|cannot be read", trust=True)


def test_two_directories_of_which_readers_choose_different_ones_are_refused(folder):
    """Python takes the record before the locator, and torch the one that the locator names."""
    checked, read = (
        edit_checkpoint(
            folder / "model.ckpt", Path(f"{epoch}.ckpt"), lambda checkpoint, e=epoch: checkpoint.update(epoch=e)
        )
        for epoch in (1, 2)
    )
    content, other = checked.read_bytes(), bytearray(read.read_bytes())
    start, other_start = content.rindex(b"PK\6\6"), other.rindex(b"PK\6\6")
    directory = struct.unpack_from("<Q", content, start + 48)[0]
    entry = struct.unpack_from("<Q", other, other_start + 48)[0]
    struct.pack_into("<Q", other, other_start + 48, entry + directory)
    while other[entry : entry + 4] == b"PK\1\2":
        (offset,) = struct.unpack_from("<L", other, entry + 42)
        struct.pack_into("<L", other, entry + 42, offset + directory)
        entry += 46 + sum(struct.unpack_from("<3H", other, entry + 28))
    inserted = bytes(other[: other_start + 56])
    end = bytearray(content[directory:])
    struct.pack_into("<Q", end, start - directory + 48, directory + len(inserted))
    struct.pack_into("<Q", end, start - directory + 56 + 8, directory + other_start)
    Path("evil.ckpt").write_bytes(content[:directory] + inserted + end)
    with zipfile.ZipFile("evil.ckpt") as archive:
        assert archive.testzip() is None
    assert torch.load("evil.ckpt", weights_only=True)["epoch"] == 2
    assert_refused(Path("evil.ckpt"), "the checksum or size of the whole archive is wrong")


def test_an_empty_archive_after_a_file_of_another_format_is_refused(folder):
    """torch would read the file, whose format before 2020 has no checksums."""
    torch.save(torch.load(folder / "model.ckpt"), "old.ckpt", _use_new_zipfile_serialization=False)
    Path("evil.ckpt").write_bytes(Path("old.ckpt").read_bytes() + b"PK\5\6" + bytes(18))
    assert_refused(Path("evil.ckpt"), "the checksum or size of the whole archive is wrong")


def test_a_member_that_torch_cannot_decompress_is_refused_unread(folder):
    evil = rewrite(folder / "model.ckpt", Path("evil.ckpt"), lambda name, old: old)
    with zipfile.ZipFile(evil, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", bytes(1000))
        offset = archive.infolist()[-1].header_offset
    flip_bit(evil, evil, offset + 31 + 10, 0x55)  # Python would raise lzma.LZMAError
    assert_refused(evil, "the checksum or size of the whole archive is wrong")


def test_a_decompression_bomb_in_the_example_inputs_is_refused_unread(folder):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"\x80\x02" + b"]" * (32 << 20) + b".")
    evil = rewrite(
        folder / "model.pt2",
        Path("evil.pt2"),
        lambda name, old: inner.getvalue() if name == INPUTS else old,
    )
    assert_refused(evil, "example inputs are a pickle of more than tensors")
