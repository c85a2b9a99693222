"""Files that differ from the checkpoint fail the export; formats that cannot be written are skipped with a reason."""

import copy
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from leyden.cli import main
from leyden.models.checkpoint import load_checkpoint
from leyden.models.image_model import ImageModel
from leyden.outputs import load_reader
from leyden.runtimes import open_model
from leyden.runtimes.examples import ImageExamples
from leyden.stages.export import describe, pt2
from leyden.stages.export.export_job import ExportJob
from leyden.stages.export.export_request import ExportRequest
from leyden.stages.export.onnx_quantisation import StaticQuantiser
from leyden.stages.export.verification import ModelOutputs, compare_outputs


@pytest.fixture
def failure(in_trained, error_of, tmp_path):
    """Return a function that exports one file, asserts that it fails and publishes nothing, and returns the error."""

    def export(name: str, precision: str = "fp32") -> str:
        formats = json.dumps({name: [precision]})
        line = error_of("export", f"--out={tmp_path}/out", f"--formats={formats}")
        assert list(tmp_path.iterdir()) == []
        return line

    return export


def break_normalisation(module: ImageModel) -> None:
    module.preprocess.mean.fill_(0)
    module.preprocess.std.fill_(1)


def break_labels(module: ImageModel) -> None:
    head = module.network.head
    head.weight.data, head.bias.data = head.weight.data.flip(0), head.bias.data.flip(0)


def break_mode(module: ImageModel) -> None:
    module.train()


def break_numbers(module: ImageModel) -> None:
    module.network.head.bias.data.fill_(float("nan"))


@pytest.mark.parametrize("breakage", [break_normalisation, break_labels, break_mode, break_numbers])
def test_a_broken_export_fails_with_file_and_step_and_publishes_nothing(breakage, failure, monkeypatch):
    write = pt2.write

    def broken(request):
        module = copy.deepcopy(request.module)
        breakage(module)
        write(changed := dataclasses.replace(request, module=module))
        request.steps.update(changed.steps)

    monkeypatch.setattr(pt2, "write", broken)
    line = failure("pt2")
    assert "model.pt2: expected the checkpoint's outputs" in line
    assert "nothing is published" in line
    assert "the step at fault is 'exported' (eager 0" in line


def test_calibration_on_different_images_is_located_in_the_quantisation_step(in_trained, tmp_path, monkeypatch):
    def calibrate_on_dark_images(self, proto, examples):
        initialize(self, proto, ImageExamples(examples.images // 100))

    initialize = StaticQuantiser.__init__
    monkeypatch.setattr(StaticQuantiser, "__init__", calibrate_on_dark_images)
    strict = "--tolerance.int8.max_relative_diff=0.001"  # otherwise, layers in float32 would make up for it
    assert main(["export", f"--out={tmp_path}/out", '--formats={"onnx": ["int8"]}', strict]) == 0
    row = json.loads((tmp_path / "out/report.json").read_text())[0]
    assert row["status"] == "refused"
    assert "the step at fault is 'quantised' (eager 0" in row["reason"]
    assert "lowered" in row["reason"]
    assert "ways to quantise it is within the tolerance" in row["reason"]
    assert list((tmp_path / "out").glob("model*")) == []


def test_lost_labels_fail(failure, monkeypatch):
    write = pt2.write

    def rename_label(request):
        write(dataclasses.replace(request, metadata=request.metadata.replace('"0"', '"zero"')))

    monkeypatch.setattr(pt2, "write", rename_label)
    assert "the file has ['zero'" in failure("pt2")


def test_a_file_with_a_fixed_batch_size_fails_with_its_name(failure, monkeypatch):
    def fixed(request):
        program = torch.export.export(request.module, request.input_spec.example_inputs(2))
        torch.export.save(program, request.path, extra_files={"leyden.json": request.metadata})

    monkeypatch.setattr(pt2, "write", fixed)
    assert "model.pt2: expected it to run in its own runtime" in failure("pt2")


@pytest.mark.parametrize("wrong_at", [64, 7, 1])
def test_one_batch_size_with_wrong_outputs_is_detected(wrong_at):
    logits = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    by_batch_size = {64: logits, 7: logits, 1: logits[:64]}
    labels, expected, reader = logits.argmax(1), ModelOutputs(by_batch_size, {}), load_reader({"labels": list("abcd")})

    def compare_changed(values: np.ndarray) -> dict:
        return compare_outputs(ModelOutputs(by_batch_size | {wrong_at: values}, {}), expected, labels, reader)

    assert compare_changed(by_batch_size[wrong_at])["max_abs_diff"] == 0
    wrong = compare_changed(-by_batch_size[wrong_at])
    assert wrong["max_abs_diff"] > 1
    assert wrong["agreement"] < 0.5
    assert wrong["score"] < 0.5 or wrong_at == 1
    nan = compare_changed(by_batch_size[wrong_at] * np.nan)
    assert nan["max_abs_diff"] == np.inf
    assert nan["mean_abs_diff"] == np.inf


def test_a_missing_package_is_reported_and_the_other_formats_are_written(in_trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "leyden.stages.export.openvino", raising=False)
    formats = '{"openvino": ["fp32", "int8"], "safetensors": ["fp32"]}'
    assert main(["export", f"--out={tmp_path}/out", f"--formats={formats}"]) == 0
    rows = json.loads((tmp_path / "out/report.json").read_text())
    assert [row["status"] for row in rows] == ["skipped", "skipped", "checked", "checked"]
    assert rows[0]["reason"] == "openvino is not installed; install leyden[export]"
    assert "export: openvino int8: skipped: openvino is not installed" in capsys.readouterr().out


class Unscriptable(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return sum(part for part in {"a": pixels.flatten(1)}.values())


class Branching(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if bool(pixels.sum() > 0):
            return pixels.flatten(1)[:, :10]
        return -2 * pixels.flatten(1)[:, :10]


def write_with(network: nn.Module, name: str, folder: Path) -> ExportJob:
    module = load_checkpoint(Path("artifacts/train/model.ckpt"))
    module.network = network
    blank = ImageExamples(np.zeros((1, 1, 8, 8), np.uint8))
    job = ExportJob(name, ExportRequest(module, folder / "model", "fp32", describe(module, "fp32", "MIT"), blank))
    job.start()
    return job


def test_a_format_that_cannot_express_the_network_is_skipped(in_trained, tmp_path):
    row = write_with(Unscriptable(), "torchscript", tmp_path).verify(None)
    assert row["status"] == "skipped"
    assert "cannot express this network" in row["reason"]
    assert list(tmp_path.iterdir()) == []
    assert "cannot express this network" in write_with(Branching(), "pt2", tmp_path).verify(None)["reason"]


def test_torchscript_keeps_both_sides_of_a_branch(in_trained, tmp_path):
    job = write_with(Branching(), "torchscript", tmp_path)
    assert job.skipped is None
    run = open_model(job.request.path, trust=True).run
    for images in (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)):
        assert np.allclose(run(images.numpy()), job.request.module(images).numpy())


def test_unknown_format_and_precision(failure):
    known = "aoti, executorch, onnx, openvino, pt2, safetensors, torchscript"
    assert f"expected formats among {known}; got 'tflite'" in failure("tflite")
    assert "expected a precision of pt2 among fp32, fp16, bf16; got 'int4'" in failure("pt2", "int4")


@pytest.mark.parametrize("suffix", ["onnx", "pt2", "torchscript", "pte", "xml", "safetensors"])
def test_a_foreign_file_is_refused_in_one_line(suffix, in_trained, error_of, tmp_path):
    for name in (f"model.{suffix}", "model.bin"):
        (tmp_path / name).write_bytes(b"junk" * 100)
    assert "cannot be read" in error_of(
        "predict", str(tmp_path / f"model.{suffix}"), "artifacts", "--out", str(tmp_path / "p.csv")
    )
