"""Exported sequences: the checkpoint's answers at every batch size and length, by files that take any."""

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
from leyden.stages.export.inputs import inputs_of

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
        assert (
            main(["fit", *CONFIGS, "--trainer.max_epochs=10", "--data.batch_size=16", "--network.init_args.width=16"])
            == 0
        )
        assert main(["export", f"--formats={json.dumps(FORMATS)}"]) == 0
    return folder


@pytest.fixture
def here(exported, monkeypatch):
    monkeypatch.chdir(exported)
    return Path("artifacts/export")


def test_every_file_is_checked_or_has_its_reason(here):
    rows = json.loads((here / "report.json").read_text())
    assert [row["file"] for row in rows if row["status"] == "checked"] == [*FILES, ""]
    reasons = {(row["format"], row["precision"]): row["reason"] for row in rows if row["status"] == "skipped"}
    assert reasons == {
        ("onnx", "int8"): "of models of sequences it writes fp32, int8_dynamic",
        ("executorch", "fp32"): "it is written of models of images only",
    }


@pytest.mark.parametrize("name", FILES)
def test_a_file_takes_any_length_and_batch_and_says_so(name, here):
    ours, theirs = leyden.load("artifacts/train/model.ckpt"), leyden.load(here / name)
    told = open_model(here / name).description
    assert (
        told["input"]["shape"] == ["batch", "time", 2]
        and told["input"]["dtype"] == "float32"
        and told["lengths"]["dtype"] == "int64"
    )
    assert theirs.features == 2 and theirs.labels == ["down", "up", "wave"]
    sequences = read_sequence_split(Path("artifacts/prepare"), "test").sequences
    for batch_size in (1, 3, 20):
        wanted, got = (predict_logits(model, sequences, batch_size) for model in (ours, theirs))
        assert float((wanted - got).abs().max()) < (0.5 if "int8" in name else 1e-4)


def test_only_steps_inside_a_sequence_are_read(here):
    values = np.random.default_rng(0).normal(size=(2, 9, 2)).astype(np.float32)
    lengths = np.array([9, 4])
    behind = values.copy()
    behind[1, 4:] = 100
    run = open_model(here / "model.onnx").run
    assert np.allclose(run(values, lengths), run(behind, lengths), atol=1e-6)
    assert np.allclose(run(values, lengths)[1], run(values[1:, :4], lengths[1:])[0], atol=1e-5)


def test_loops_compute_in_8_bits(here):
    import onnx

    scans = [node for node in onnx.load(here / "model.int8_dynamic.onnx").graph.node if node.op_type == "Scan"]
    assert len(scans) == 2  # directions
    for scan in scans:
        assert "MatMulInteger" in {node.op_type for attribute in scan.attribute for node in attribute.g.node}


def test_evaluate_and_predict_take_a_file(here):
    for model in ("artifacts/train/model.ckpt", str(here / "model.onnx")):
        assert main(["evaluate", f"--model={model}", f"--out=out/{Path(model).suffix}", "--num_resamples=50"]) == 0
        assert main(["predict", model, "data/wave", f"--out=out{Path(model).suffix}.csv"]) == 0
    named = [
        [row["prediction"] for row in csv.DictReader(Path(f"out.{kind}.csv").read_text().splitlines())]
        for kind in ("ckpt", "onnx")
    ]
    assert named[0] == named[1] and len(named[0]) == 20
    ours, theirs = (json.loads(Path(f"out/.{kind}/metrics.json").read_text())["accuracy"] for kind in ("ckpt", "onnx"))
    assert ours == theirs


def test_a_fixed_length_is_found_in_the_check(here, monkeypatch, error_of, tmp_path):
    import torch

    from leyden.stages.export import pt2

    def fixed(request):
        shapes = request.inputs.dynamic_shapes()[1]
        program = torch.export.export(request.module, request.inputs.example(2), dynamic_shapes=(shapes, shapes))
        torch.export.save(program, request.path, extra_files={"leyden.json": request.metadata})

    monkeypatch.setattr(pt2, "write", fixed)
    assert "model.pt2" in error_of("export", '--formats={"pt2": ["fp32"]}', f"--out={tmp_path}/out")
    assert list(tmp_path.iterdir()) == []
    assert inputs_of(load_checkpoint(Path("artifacts/train/model.ckpt"))).example(2)[0].shape == (2, 5, 2)
