"""OpenVINO's intermediate representation: an .xml file and its weights in a .bin, fast on x86 processors."""

import contextlib
import io

import openvino
import torch

from leyden.runtimes.examples import batches
from leyden.stages.export.export_request import CannotWriteError, ExportRequest
from leyden.stages.export.program import trace

SUFFIX = ".xml"
PRECISIONS = ("fp32", "fp16", "int8")  # fp16: only the weights are stored in it, which halves the file


def write(request: ExportRequest) -> None:
    """Write .xml and .bin with a dynamic batch; the metadata is in the model's runtime information `leyden`."""
    if request.precision == "int8" and hasattr(request.module.network, "branching"):
        raise CannotWriteError(
            "in int8, files of a network with early exits predicted different classes for 5% of the sample digits"
        )
    model = openvino.convert_model(trace(request))
    model.inputs[0].get_tensor().set_names({"images"})
    model.outputs[0].get_tensor().set_names({"logits"})
    model.reshape({"images": [-1, *request.input_spec.example_inputs(1)[0].shape[1:]]})
    if request.precision == "int8":
        fp32 = openvino.compile_model(model.clone(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        request.steps["lowered"] = lambda images: torch.from_numpy(fp32(images.numpy())["logits"])
        request.last_step = "quantised"
        model = quantise(model, request)
    model.set_rt_info(request.metadata, "leyden")
    openvino.save_model(model, request.path, compress_to_fp16=request.precision == "fp16")


def quantise(model: openvino.Model, request: ExportRequest) -> openvino.Model:
    """Quantise weights per channel and activations, calibrated on the request's images one by one."""
    # It prints progress bars.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import nncf

        images = [image for (image,) in batches(request.calibration, 1)]
        return nncf.quantize(model, nncf.Dataset(images), preset=nncf.QuantizationPreset.MIXED, subset_size=len(images))
