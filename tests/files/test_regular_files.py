"""Reading of the user's files with a limit."""

import os
import socket

import pytest

from leyden.files.regular_files import read_regular_file


def test_a_whole_file_is_read_also_through_a_link(tmp_path):
    content = os.urandom(200_000)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "link").symlink_to("file")
    assert read_regular_file(tmp_path / "file", len(content)) == content
    assert read_regular_file(str(tmp_path / "link"), len(content)) == content


def test_an_empty_file_is_empty(tmp_path):
    (tmp_path / "file").touch()
    assert read_regular_file(tmp_path / "file", 10) == b""


def test_a_file_that_states_no_size_is_read():
    assert read_regular_file("/proc/self/status", 10**6).startswith(b"Name:")


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "socket"])
def test_only_regular_files_are_read(tmp_path, monkeypatch, kind):
    path = tmp_path / "image.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # a socket's path has at most 107 bytes
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("image.png")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        path = "/dev/zero"
    with pytest.raises(OSError, match="not a regular file") as error:
        read_regular_file(path, 10)
    assert error.value.strerror == "not a regular file"


def test_a_folder_is_not_read(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_regular_file(tmp_path, 10)


def test_a_larger_file_is_not_read(tmp_path):
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", 3_000_000_000)
    with pytest.raises(OSError, match="larger than 1,000 MB") as error:
        read_regular_file(tmp_path / "file")
    assert error.value.strerror == "larger than 1,000 MB"


def test_a_file_that_grows_is_read_up_to_the_limit():
    with pytest.raises(OSError, match="larger than 0 MB"):
        read_regular_file("/proc/self/status", 100)
