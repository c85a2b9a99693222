"""Exported files of a network with a value for each pixel, and their comparison with the checkpoint."""

import json

import numpy as np
import pytest
import torch

from leyden.models.image_model import ImageModel
from leyden.runtimes import open_model
from leyden.runtimes.examples import ImageExamples
from leyden.runtimes.measure import read_outputs, write_outputs
from leyden.stages.export import describe
from leyden.stages.export.agreement import Comparison
from leyden.stages.export.export_job import ExportJob
from leyden.stages.export.export_request import ExportRequest
from leyden.stages.export.input_spec import MAX_OUTPUT_VALUES, ImageInputSpec, limit_examples
from leyden.stages.export.verification import ModelOutputs, compare_outputs
from tests.stages.dense_model import DESCRIPTION, READER

SIZE = (16, 24)
IMAGES = np.random.default_rng(0).integers(0, 256, (70, 3, *SIZE), dtype=np.uint8)
LOGITS = (
    np.random.default_rng(0).normal(size=(70, 1, 4, 5)).astype(np.float32)
    * np.array([1, -1], np.float32)[:, None, None]
)


@pytest.fixture(scope="module")
def model() -> ImageModel:
    torch.manual_seed(0)
    network = {"class_path": "leyden.models.UNet", "init_args": {"width": 4, "depth": 2}}
    input = {"channels": 3, "image_size": list(SIZE), "mean": [0.5] * 3, "std": [0.25] * 3}
    return ImageModel(network, DESCRIPTION["labels"], input, DESCRIPTION["task"]).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "precision", "tolerance"),
    [
        *((name, "fp32", 1e-4) for name in ("pt2", "onnx", "torchscript", "executorch", "openvino", "safetensors")),
        *((name, "fp16", 0.03) for name in ("pt2", "onnx", "openvino")),
        *((name, "int8", 0.5) for name in ("onnx", "executorch", "openvino")),
        *((name, "bf16", 0.1) for name in ("pt2", "safetensors")),
    ],
)
def test_a_file_maps_images_to_the_checkpoints_values_of_each_pixel(name, precision, tolerance, model, tmp_path):
    metadata = describe(model, precision, "MIT")
    job = ExportJob(name, ExportRequest(model, tmp_path / "model", precision, metadata, ImageExamples(IMAGES)))
    job.start()
    job.finish()
    assert job.skipped is None
    run = open_model(job.request.path, trust=True).run
    expected = model(torch.from_numpy(IMAGES)).detach().numpy()
    assert expected.shape == (70, 2, *SIZE)
    for count in (1, 7, 70):
        outputs = run(IMAGES[:count])
        assert outputs.dtype == np.float32
        assert outputs.shape == (count, 2, *SIZE)
        assert np.abs(outputs - expected[:count]).max() < tolerance * expected.std()


def outputs_of(logits: np.ndarray) -> ModelOutputs:
    return ModelOutputs({64: logits, 7: logits, 1: logits[:64]}, {}, logits[:0])


def test_agreement_is_the_mean_fraction_of_pixels_with_the_same_class():
    targets, swapped = READER.decide(LOGITS), LOGITS.copy()
    swapped[:35, :, :2] = swapped[:35, ::-1, :2]  # two of four rows of half of the images
    metrics = compare_outputs(outputs_of(swapped), outputs_of(LOGITS), targets, READER)
    assert metrics["agreement"] == pytest.approx(0.75)
    assert metrics["agreement_low"] < 0.75 < metrics["agreement_high"]
    assert metrics["score_name"] == "mean_iou"
    assert metrics["score"] == pytest.approx(0.6, abs=0.01)  # 0.75 / (0.75 + 2 * 0.25) of each class


def test_rounding_of_two_equal_values_of_a_pixel_is_no_disagreement():
    expected = LOGITS.copy()
    expected[:, 1, 0] = expected[:, 0, 0]
    rounded, different = expected.copy(), expected.copy()
    rounded[:, 1, 0] += 5e-5
    different[:, 1, 0] += 1e-3
    assert (Comparison(READER, expected).agreement(rounded) == 1).all()
    assert (Comparison(READER, expected).agreement(different) == 0.75).all()


@pytest.mark.parametrize(("size", "count"), [(64, 512), (512, 128), (8192, 1)])
def test_large_masks_leave_fewer_examples(size, count, model):
    spec = ImageInputSpec(model)
    spec.shape = [3, size, size]
    assert spec.output_shape == [2, size, size]
    assert limit_examples(spec, 512) == count
    assert count == 1 or count * 2 * size**2 <= MAX_OUTPUT_VALUES


def test_metadata_names_the_shape_of_the_output_and_the_palette(model):
    description = json.loads(describe(model, "fp32", "MIT"))
    assert description["output"] == {"name": "logits", "dtype": "float32", "shape": ["batch", 2, 16, 24]}
    assert description["task"] == DESCRIPTION["task"]


def test_outputs_are_written_batch_by_batch(tmp_path):
    batches = [(IMAGES[:4],), (IMAGES[4:7],)]
    write_outputs(tmp_path, "x", lambda images: images[:, :2].astype(np.float32), batches)
    assert np.array_equal(read_outputs(tmp_path, "x"), IMAGES[:7, :2])
    write_outputs(tmp_path, "none", lambda images: images, [])
    assert read_outputs(tmp_path, "none").shape == (0, 1)
