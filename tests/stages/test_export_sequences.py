"""Exported models of sequences: the checkpoint's outputs at every batch size and length."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import leyden
from leyden.cli import main
from leyden.data.sequences import read_sequence_split
from leyden.models.checkpoint import load_checkpoint
from leyden.runtimes import open_model
from leyden.runtimes.load import predict_logits
from leyden.stages.export.input_spec import make_input_spec

FORMATS = {
    "pt2": ["fp32"],
    "onnx": ["fp32", "int8_dynamic", "int8"],
    "torchscript": ["fp32"],
    "safetensors": ["fp32"],
    "executorch": ["fp32"],
}
FILES = ["model.pt2", "model.onnx", "model.int8_dynamic.onnx", "model.torchscript", "model.safetensors"]
CONFIGS = ["-c", "configs/train.yaml", "-c", "configs/experiment/sequences.yaml"]


@pytest.fixture(scope="module")
def exported(sequences_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint and its files."""
    folder = tmp_path_factory.mktemp("sequences-exported")
    for name in ("configs", "data"):
        (folder / name).symlink_to(sequences_prepared / name)
    (folder / "artifacts").mkdir()
    (folder / "artifacts/prepare").symlink_to(sequences_prepared / "artifacts/prepare")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        args = ["--trainer.max_epochs=10", "--data.batch_size=16", "--network.init_args.width=16"]
        assert main(["fit", *CONFIGS, *args]) == 0
        assert main(["export", f"--formats={json.dumps(FORMATS)}"]) == 0
    return folder


@pytest.fixture
def here(exported, monkeypatch):
    monkeypatch.chdir(exported)
    return Path("artifacts/export")


def test_every_file_is_checked_or_has_a_reason(here):
    rows = json.loads((here / "report.json").read_text())
    assert [row["file"] for row in rows if row["status"] == "checked"] == [*FILES, ""]
    reasons = {(row["format"], row["precision"]): row["reason"] for row in rows if row["status"] == "skipped"}
    assert reasons == {
        ("onnx", "int8"): "supports models of sequences in fp32 and int8_dynamic only",
        ("executorch", "fp32"): "supports models of images only",
    }


@pytest.mark.parametrize("name", FILES)
def test_a_file_accepts_and_describes_any_length_and_batch_size(name, here):
    checkpoint, model = leyden.load("artifacts/train/model.ckpt"), leyden.load(here / name)
    description = open_model(here / name).description
    assert description["input"]["shape"] == ["batch", "time", 2]
    assert description["input"]["dtype"] == "float32"
    assert description["lengths"]["dtype"] == "int64"
    assert model.features == 2
    assert model.labels == ["down", "up", "wave"]
    sequences = read_sequence_split(Path("artifacts/prepare"), "test").sequences
    for batch_size in (1, 3, 20):
        expected, logits = (predict_logits(each, sequences, batch_size) for each in (checkpoint, model))
        assert float((expected - logits).abs().max()) < (0.5 if "int8" in name else 1e-4)


def test_padding_does_not_change_the_logits(here):
    values = np.random.default_rng(0).normal(size=(2, 9, 2)).astype(np.float32)
    lengths = np.array([9, 4])
    padded = values.copy()
    padded[1, 4:] = 100
    run = open_model(here / "model.onnx").run
    assert np.allclose(run(values, lengths), run(padded, lengths), atol=1e-6)
    assert np.allclose(run(values, lengths)[1], run(values[1:, :4], lengths[1:])[0], atol=1e-5)


def test_loops_are_quantised(here):
    import onnx

    scans = [node for node in onnx.load(here / "model.int8_dynamic.onnx").graph.node if node.op_type == "Scan"]
    assert len(scans) == 2  # directions
    for scan in scans:
        assert "MatMulInteger" in {node.op_type for attribute in scan.attribute for node in attribute.g.node}


def test_evaluate_and_predict_accept_a_file(here):
    for model in ("artifacts/train/model.ckpt", str(here / "model.onnx")):
        assert main(["evaluate", f"--model={model}", f"--out=out/{Path(model).suffix}", "--num_resamples=50"]) == 0
        assert main(["predict", model, "data/wave", f"--out=out{Path(model).suffix}.csv"]) == 0
    predictions = [
        [row["prediction"] for row in csv.DictReader(Path(f"out.{kind}.csv").read_text().splitlines())]
        for kind in ("ckpt", "onnx")
    ]
    assert predictions[0] == predictions[1]
    assert len(predictions[0]) == 20
    of_checkpoint, of_file = (
        json.loads(Path(f"out/.{kind}/metrics.json").read_text())["accuracy"] for kind in ("ckpt", "onnx")
    )
    assert of_checkpoint == of_file


def test_a_fixed_length_is_detected(here, monkeypatch, error_of, tmp_path):
    import torch

    from leyden.stages.export import pt2

    def fixed(request):
        shapes = request.input_spec.dynamic_shapes()[1]
        program = torch.export.export(
            request.module, request.input_spec.example_inputs(2), dynamic_shapes=(shapes, shapes)
        )
        torch.export.save(program, request.path, extra_files={"leyden.json": request.metadata})

    monkeypatch.setattr(pt2, "write", fixed)
    assert "model.pt2" in error_of("export", '--formats={"pt2": ["fp32"]}', f"--out={tmp_path}/out")
    torch._dynamo.reset()  # otherwise, the next export in this process reuses the graph of the fixed length
    assert list(tmp_path.iterdir()) == []
    assert make_input_spec(load_checkpoint(Path("artifacts/train/model.ckpt"))).example_inputs(2)[0].shape == (2, 5, 2)
