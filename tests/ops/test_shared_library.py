"""Compilation on first use: without a compiler, with a broken one, and by two processes at the same time."""

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


# The last one writes half a library and is killed.
@pytest.mark.parametrize("script", ["exit 1", "exit 0", None, 'for last; do :; done; echo half > "$last"; kill -9 $$'])
def test_without_a_working_compiler_the_reference_is_used_after_one_warning(script, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", write_compiler(tmp_path, script) if script else str(tmp_path / "missing"))
    crops = draw_crops(1)
    with pytest.warns(
        UserWarning, match=r"^expected to compile crop.cpp; got: .*; install a C\+\+ compiler or set CXX"
    ):
        out = crop.crop_flip_normalize(*crops)
    assert torch.equal(out, crop.compute_reference(crops))
    assert torch.equal(crop.crop_flip_normalize(*crops), out)  # a second warning would be an error
    assert list(cache_folder().iterdir()) == []


def test_an_unwritable_cache_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="expected to compile crop.cpp"):
        assert load_library(SOURCE) is None


def test_a_compiler_without_openmp_compiles_a_kernel_for_one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", write_compiler(tmp_path, 'case "$*" in *-fopenmp*) exit 1;; esac; exec c++ "$@"'))
    crops = draw_crops(1)
    assert torch.equal(crop.crop_flip_normalize(*crops), crop.compute_reference(crops))
    assert load_library(SOURCE) is not None


def test_a_library_is_compiled_once_for_each_source_and_compiler(tmp_path, monkeypatch):
    source = tmp_path / "answer.cpp"
    source.write_text('extern "C" int answer() { return 42; }')
    library = find_library(source)
    modified = library.stat().st_mtime_ns
    assert find_library(source) == library
    assert library.stat().st_mtime_ns == modified
    source.write_text('extern "C" int answer() { return 43; }')
    load_library.cache_clear()
    recompiled = load_library(source)
    assert recompiled is not None
    assert recompiled.answer() == 43
    monkeypatch.setenv("CXX", "c++ -O1")
    assert len({library, find_library(source), *cache_folder().iterdir()}) == 3


def test_a_library_is_compiled_again_after_a_header_changed(tmp_path):
    source, header = tmp_path / "answer.cpp", tmp_path / "answer.h"
    source.write_text('#include "answer.h"\nextern "C" int answer() { return ANSWER; }')
    header.write_text("#define ANSWER 42")
    library = find_library(source)
    header.write_text("#define ANSWER 43")
    assert find_library(source) != library


def test_two_processes_at_once_compile_one_complete_library(tmp_path):
    """The compiler waits until both have started it, so that both compile and both move their library into place."""
    wait_for_both = (
        f"touch {tmp_path}/here.$$; for i in $(seq 600); do "
        f'[ $(ls {tmp_path} | grep -c here) -ge 2 ] && exec c++ "$@"; sleep 0.05; done; exit 1'
    )
    code = (
        "from pathlib import Path; from leyden.ops.shared_library import load_library as load; "
        f"load(Path({str(SOURCE)!r})).crop_flip_normalize"
    )
    environment = {**os.environ, "CXX": write_compiler(tmp_path, wait_for_both)}
    both = [subprocess.Popen([sys.executable, "-W", "error", "-c", code], env=environment) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert [path.suffix for path in cache_folder().iterdir()] == [".so"]
