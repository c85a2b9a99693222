"""Zip archives that are damaged, or that two readers could read differently, are refused even with trust."""

import io
import shutil
import zipfile
from pathlib import Path

import pytest

from leyden.runtimes.program import INPUTS
from tests.trust.tampering import assert_refused, flip_bit, rewrite


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
