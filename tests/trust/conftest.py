"""Model files that the tests tamper with or damage."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from leyden.models.checkpoint import load_checkpoint
from leyden.stages.export import describe
from leyden.stages.export.export_job import ExportJob
from leyden.stages.export.export_request import ExportRequest
from leyden.stages.export.input_spec import make_image_examples

FORMATS = ("executorch", "onnx", "openvino", "pt2", "safetensors", "torchscript")


@pytest.fixture(scope="session")
def model_files(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model's checkpoint and every format that exports quickly; no project has records of them."""
    folder = tmp_path_factory.mktemp("model_files")
    module = load_checkpoint(trained / "artifacts/train/model.ckpt")
    examples = make_image_examples(np.zeros((2, 8, 8, 1), np.uint8))
    for name in FORMATS:
        metadata = describe(module, "fp32", "MIT")
        job = ExportJob(name, ExportRequest(module, folder / "model", "fp32", metadata, examples))
        job.start()
        job.finish()
        assert not job.skipped, job.skipped
    shutil.copy(trained / "artifacts/train/model.ckpt", folder)
    return folder


@pytest.fixture
def folder(model_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the model files; the current folder is an empty one beside it, without records of them."""
    shutil.copytree(model_files, tmp_path / "given")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "given"
