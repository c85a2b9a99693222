"""The sample data is written the same everywhere, and credited."""

import subprocess

import numpy as np
import yaml
from PIL import Image

from leyden.cli import main
from tests.conftest import REPO


def test_writes_the_data_of_data_dvc(tmp_path, monkeypatch, python_env):
    """The hash in the Makefile equals that of what `leyden sample` writes."""
    monkeypatch.chdir(tmp_path)
    assert main(["sample"]) == 0
    for command in ("dvc init -q --no-scm", "dvc config core.analytics false", "dvc add -q data"):
        subprocess.run(command, shell=True, check=True, env=python_env)
    written = yaml.safe_load((tmp_path / "data.dvc").read_text())["outs"][0]["md5"]
    assert f"SAMPLE := {written}\n" in (REPO / "Makefile").read_text()


def test_images_are_the_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sample"]) == 0
    files = sorted((tmp_path / "data").glob("*/*.png"))
    assert len(files) == 1797
    assert {path.parent.name for path in files} == set("0123456789")
    first = np.asarray(Image.open(tmp_path / "data/0/0000.png"))
    assert first.shape == (8, 8)
    assert first[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]


def test_never_overwrites(error_of, tmp_path):
    (tmp_path / "mine").mkdir()
    assert "it exists already; move it away first" in error_of("sample", "--out", str(tmp_path / "mine"))


def test_source_and_licence_are_credited():
    import leyden.stages.sample

    assert "CC BY 4.0" in str(leyden.stages.sample.__doc__)
    assert "CC BY 4.0" in (REPO / "README.md").read_text()
