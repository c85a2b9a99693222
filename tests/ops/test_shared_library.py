"""Building on first use: without a compiler, with a broken one, and by two processes at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from leyden.ops import crop
from leyden.ops.shared_library import cache_folder, find_library, load_library
from tests.ops.conftest import draw_crops

SOURCE = Path(crop.__file__).with_suffix(".cpp")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    load_library.cache_clear()
    yield
    load_library.cache_clear()


def write_compiler(folder: Path, script: str) -> str:
    compiler = folder / "compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    return str(compiler)


# The last writes half a library and dies.
@pytest.mark.parametrize("script", ["exit 1", "exit 0", None, 'for last; do :; done; echo half > "$last"; kill -9 $$'])
def test_without_a_working_compiler_one_warning_and_the_reference(script, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", write_compiler(tmp_path, script) if script else str(tmp_path / "missing"))
    crops = draw_crops(1)
    with pytest.warns(UserWarning, match=r"^crop.cpp: no compiled kernel, .* install a C\+\+ compiler or set CXX"):
        out = crop.crop_flip_normalize(*crops)
    assert torch.equal(out, crop.compute_reference(crops))
    assert torch.equal(crop.crop_flip_normalize(*crops), out)  # a second warning would be an error
    assert list(cache_folder().iterdir()) == []


def test_an_unwritable_cache_is_a_warning_too(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="no compiled kernel"):
        assert load_library(SOURCE) is None


def test_a_compiler_without_openmp_builds_a_kernel_for_one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", write_compiler(tmp_path, 'case "$*" in *-fopenmp*) exit 1;; esac; exec c++ "$@"'))
    crops = draw_crops(1)
    assert torch.equal(crop.crop_flip_normalize(*crops), crop.compute_reference(crops))
    assert load_library(SOURCE) is not None


def test_it_is_built_once_and_anew_for_another_source_or_compiler(tmp_path, monkeypatch):
    source = tmp_path / "answer.cpp"
    source.write_text('extern "C" int answer() { return 42; }')
    library = find_library(source)
    stamp = library.stat().st_mtime_ns
    assert find_library(source) == library and library.stat().st_mtime_ns == stamp
    source.write_text('extern "C" int answer() { return 43; }')
    load_library.cache_clear()
    answer = load_library(source)
    assert answer is not None and answer.answer() == 43
    monkeypatch.setenv("CXX", "c++ -O1")
    assert len({library, find_library(source), *cache_folder().iterdir()}) == 3


def test_it_is_built_anew_for_another_header(tmp_path):
    source, header = tmp_path / "answer.cpp", tmp_path / "answer.h"
    source.write_text('#include "answer.h"\nextern "C" int answer() { return ANSWER; }')
    header.write_text("#define ANSWER 42")
    library = find_library(source)
    header.write_text("#define ANSWER 43")
    assert find_library(source) != library


def test_two_processes_at_once_build_one_whole_library(tmp_path):
    """The compiler waits until both have called it, so that both build and both put theirs in place."""
    meet = f'touch {tmp_path}/here.$$; for i in $(seq 600); do [ $(ls {tmp_path} | grep -c here) -ge 2 ] && exec c++ "$@"; sleep 0.05; done; exit 1'
    code = f"from pathlib import Path; from leyden.ops.shared_library import load_library as load; load(Path({str(SOURCE)!r})).crop_flip_normalize"
    environment = {**os.environ, "CXX": write_compiler(tmp_path, meet)}
    both = [subprocess.Popen([sys.executable, "-W", "error", "-c", code], env=environment) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert [path.suffix for path in cache_folder().iterdir()] == [".so"]
