"""Formats that are code load only with trust: the user's, or a record of this project."""

import json
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

import leyden
from leyden.runtimes import RUNTIMES
from tests.conftest import REPO
from tests.trust.tampering import assert_refused

LIBRARY = '#include <cstdio>\nstruct Run { Run() { fclose(fopen("ran", "w")); } } run;\n'


@pytest.fixture
def compiled(folder: Path) -> Path:
    """An AOTInductor package whose library runs code when it is loaded."""
    Path("evil.cpp").write_text(LIBRARY)
    subprocess.run(["c++", "-shared", "-fPIC", "evil.cpp", "-o", "evil.so"], check=True)
    with zipfile.ZipFile("evil.aoti.pt2", "w") as archive:
        for name, content in {"wrapper.so": Path("evil.so").read_bytes(), "wrapper_metadata.json": b"{}"}.items():
            archive.writestr(f"model/data/aotinductor/model/model.{name}", content)
        archive.writestr("model/archive_format", b"pt2")
        archive.writestr("model/archive_version", b"0")
        archive.writestr("model/extra/leyden.json", b"{}")
    return Path("evil.aoti.pt2")


@pytest.mark.parametrize("name", ["evil.aoti.pt2", "evil.pt2"])
def test_a_compiled_library_needs_trust_under_any_file_name(compiled, name):
    compiled.rename(name)
    assert_refused(Path(name), "holds AOTInductor's library, which is code; add --trust")


class FileWriter(nn.Module):
    """A TorchScript program that writes a file when it is called."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        torch.save(images, "ran")
        return images.flatten(1)[:, :10].float()


def test_torchscript_needs_trust(folder, error_of):
    metadata = zipfile.ZipFile(folder / "model.torchscript").read("model/extra/leyden.json").decode()
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(FileWriter()), "evil.torchscript", _extra_files={"leyden.json": metadata})
    assert_refused(Path("evil.torchscript"), "holds a TorchScript program, which is code; add --trust")
    assert "add --trust" in error_of("predict", "evil.torchscript", ".")


def test_trusted_code_loads(folder):
    for source_of_trust in ("argument", "record"):
        model = leyden.load(folder / "model.torchscript", trust=source_of_trust == "argument")
        assert model(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 10)
        digest = leyden.files.sha256(folder / "model.torchscript")
        Path("artifacts/export").mkdir(parents=True, exist_ok=True)
        Path("artifacts/export/report.json").write_text(json.dumps([{"sha256": digest}]))


def test_records_beside_the_file_are_ignored(folder):
    digest = leyden.files.sha256(folder / "model.torchscript")
    for name in ("report.json", "provenance.json"):
        (folder / name).write_text(json.dumps([{"sha256": digest, "model_sha256": digest}]))
    (folder / "published").mkdir()
    (folder / "published" / digest).touch()
    assert_refused(folder / "model.torchscript", "add --trust")


def test_docs_list_every_format():
    page = (REPO / "docs/trust.md").read_text()
    assert [suffix for suffix in RUNTIMES if f"`{suffix}`" not in page] == []
