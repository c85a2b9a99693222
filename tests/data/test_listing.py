"""Folders are listed in a stable order, and nothing is left out without being counted."""

import os

from leyden.data.listing import LeftOut, find_files


def names_in(folder, left_out=None):
    return [path.relative_to(folder).as_posix() for path in find_files(folder, left_out)]


def test_hidden_files_are_left_out_and_counted(tmp_path):
    for name in ("b/2.png", "a/1.png", "a/c/0.png", ".git/x.png", "a/.DS_Store", "__MACOSX/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    left_out = LeftOut()
    assert names_in(tmp_path, left_out) == ["a/1.png", "a/c/0.png", "b/2.png"]
    examples = [".git", "__MACOSX", "a/.DS_Store"]
    assert left_out.rows() == [{"reason": "hidden files", "count": 3, "examples": examples}]
    assert str(left_out) == ""


def test_pipes_and_links_that_lead_nowhere_are_listed(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert names_in(tmp_path) == ["gone.png", "loop.png", "pipe.png"]


def test_a_link_to_a_folder_above_is_counted(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").touch()
    (tmp_path / "a/up").symlink_to(tmp_path)
    assert names_in(tmp_path, left_out := LeftOut()) == ["a/1.png"]
    assert str(left_out) == "1 link to a folder above: a/up"


def test_the_first_names_of_each_reason_are_shown():
    left_out = LeftOut()
    for number in range(4):
        left_out.add_unknown(f"cat/{number}.HEIC", "images")
    left_out.add_unknown("cat/caf\udce9.txt", "images")
    left_out.add_unknown("cat/LICENSE", "images")
    left_out.add_unknown("cat/license_1.cr2", "images")
    assert str(left_out) == (
        "4 .heic files (install pillow-heif to read them): cat/0.HEIC, cat/1.HEIC, cat/2.HEIC, ...; "
        r"1 .txt file (not images): cat/caf\xe9.txt; 1 .cr2 file (not images): cat/license_1.cr2"
    )
