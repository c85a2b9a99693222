"""OpenVINO's intermediate representation: an .xml file and its weights beside it, fast on Intel's and other x86 processors."""

import contextlib
import io

import openvino
import torch

from leyden.runtimes.examples import batches
from leyden.stages.export.program import trace
from leyden.stages.export.request import CannotWriteError, Request

SUFFIX = ".xml"
PRECISIONS = ("fp32", "fp16", "int8")  # fp16 stores the weights so, and halves the file


def write(request: Request) -> None:
    """Write .xml and .bin with a dynamic batch; the metadata is in the model's runtime information `leyden`."""
    if request.precision == "int8" and hasattr(request.module.network, "branching"):
        raise CannotWriteError(
            "in 8 bits, OpenVINO's files of a network with early exits named 5% of the sample digits otherwise"
        )
    model = openvino.convert_model(trace(request))
    model.inputs[0].get_tensor().set_names({"images"})
    model.outputs[0].get_tensor().set_names({"logits"})
    model.reshape({"images": [-1, *request.inputs.example(1)[0].shape[1:]]})
    if request.precision == "int8":
        fp32 = openvino.compile_model(model.clone(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        request.steps["lowered"], request.last_step = (
            lambda images: torch.from_numpy(fp32(images.numpy())["logits"]),
            "quantised",
        )
        model = quantise(model, request)
    model.set_rt_info(request.metadata, "leyden")
    openvino.save_model(model, request.path, compress_to_fp16=request.precision == "fp16")


def quantise(model: openvino.Model, request: Request) -> openvino.Model:
    """Quantise weights per channel and activations, calibrated on the request's images one by one."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # it draws bars
        import nncf

        images = [image for (image,) in batches(request.calibration, 1)]
        return nncf.quantize(model, nncf.Dataset(images), preset=nncf.QuantizationPreset.MIXED, subset_size=len(images))
