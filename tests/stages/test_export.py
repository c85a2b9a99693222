"""What is exported is what was trained; a file that is not is never published."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import leyden
from leyden.cli import main
from leyden.data.packed import read_split
from leyden.models.load import predict_logits
from leyden.stages.export import pt2
from leyden.stages.export.check import largest_difference


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    args = [f"--model={trained}/artifacts/train/model.ckpt", f"--data={trained}/artifacts/prepare", f"--out={out}"]
    assert main(["export", *args]) == 0
    return out


def test_report_has_a_checked_row_per_format(exported):
    rows = json.loads((exported / "report.json").read_text())
    assert [row["format"] for row in rows] == ["pt2", "onnx", "eager"]
    for row in rows[:2]:
        assert row["status"] == "checked" and row["top1_agreement"] == 1 and 0 <= row["max_abs_diff"] < 1e-3 and row["examples"] == 350
        assert row["bytes"] == (exported / row["file"]).stat().st_size and row["latency_ms_b64_p95"] >= row["latency_ms_b1_p50"] > 0
    assert "| onnx | fp32 |" in (exported / "report.md").read_text()


@pytest.mark.parametrize("name", ["model.pt2", "model.onnx"])
@pytest.mark.parametrize("batch_size", [1, 3, 200])
def test_a_file_gives_the_checkpoints_answers(exported, in_trained, name, batch_size):
    images = read_split("artifacts/prepare", "test").images[:200]
    ours, theirs = leyden.load("artifacts/train/model.ckpt"), leyden.load(exported / name)
    assert torch.allclose(predict_logits(ours, images, 200), predict_logits(theirs, images, batch_size), atol=1e-4)
    assert theirs.labels == list("0123456789") and theirs.channels == 1 and theirs.image_size == (8, 8)


@pytest.mark.parametrize("name", ["model.pt2", "model.onnx"])
def test_prediction_by_a_file_is_prediction_by_the_checkpoint(exported, in_trained, name, tmp_path):
    rows = []
    for model in ("artifacts/train/model.ckpt", str(exported / name)):
        assert main(["predict", model, "data/3", "--batch_size=50", "--out", str(tmp_path / "p.csv")]) == 0
        rows.append([line.split(",")[:2] for line in (tmp_path / "p.csv").read_text().splitlines()])
    assert rows[0] == rows[1] and len(rows[0]) == 184


@pytest.mark.parametrize("name", ["model.pt2", "model.onnx"])
def test_no_path_of_this_machine_stays_inside(exported, name, trained):
    content = (exported / name).read_bytes()
    if name.endswith("pt2"):
        import zipfile

        with zipfile.ZipFile(exported / name) as archive:
            content = b"".join(archive.read(member) for member in archive.namelist())
    for path in (Path(leyden.__file__).parent, Path(torch.__file__).parent, Path.home(), trained):
        assert str(path).encode() not in content, path


def test_metadata_tells_labels_input_and_provenance(exported):
    properties = {prop.key: prop.value for prop in onnx.load(exported / "model.onnx").metadata_props}
    described = json.loads(properties["leyden"])
    assert described["input"]["shape"] == ["batch", 1, 8, 8] and described["input"]["dtype"] == "uint8"
    assert len(described["data_hash"]) == 64 and described["code_version"] and "dynamo" in properties["exporter"]


def break_normalisation(module: leyden.models.image_model.ImageModel) -> None:
    module.preprocess.mean.fill_(0)
    module.preprocess.std.fill_(1)


def break_labels(module: leyden.models.image_model.ImageModel) -> None:
    head = module.network.head
    head.weight.data, head.bias.data = head.weight.data.flip(0), head.bias.data.flip(0)


def break_mode(module: leyden.models.image_model.ImageModel) -> None:
    module.train()


def break_numbers(module: leyden.models.image_model.ImageModel) -> None:
    module.network.head.bias.data.fill_(float("nan"))


@pytest.mark.parametrize("breakage", [break_normalisation, break_labels, break_mode, break_numbers])
def test_a_broken_export_fails_by_name_and_publishes_nothing(breakage, in_trained, error_of, tmp_path, monkeypatch):
    write = pt2.write

    def broken(module, path, metadata):
        import copy

        other = copy.deepcopy(module)
        breakage(other)
        write(other, path, metadata)

    monkeypatch.setattr(pt2, "write", broken)
    line = error_of("export", "--out", str(tmp_path / "out"))
    assert "model.pt2: expected the checkpoint's answers" in line and "nothing is published" in line
    assert list(tmp_path.iterdir()) == []


def test_lost_labels_fail(in_trained, error_of, tmp_path, monkeypatch):
    write = pt2.write
    monkeypatch.setattr(pt2, "write", lambda module, path, metadata: write(module, path, metadata.replace('"0"', '"zero"')))
    assert "the file carries ['zero'" in error_of("export", "--out", str(tmp_path / "out"))


def test_not_a_number_is_the_largest_difference():
    assert largest_difference(torch.tensor([1.0, float("nan")]), torch.zeros(2)) == np.inf


def test_unknown_format_and_foreign_file(in_trained, error_of, tmp_path):
    assert "expected formats among onnx, pt2; got 'tflite'" in error_of("export", "--formats=[tflite]", "--out", str(tmp_path / "out"))
    (tmp_path / "model.onnx").write_bytes(b"junk")
    assert "cannot be read" in error_of("predict", str(tmp_path / "model.onnx"), "artifacts", "--out", str(tmp_path / "p.csv"))
