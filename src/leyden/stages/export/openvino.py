"""OpenVINO's intermediate representation: an .xml file and its weights in a .bin, fast on x86 processors."""

import contextlib
import io
import re

import openvino
import torch

from leyden.runtimes.examples import Examples, batches
from leyden.stages.export.export_request import Candidates, CannotWriteError, ExportRequest, Quantisation, Step
from leyden.stages.export.program import trace

SUFFIX = ".xml"
PRECISIONS = ("fp32", "fp16", "int8")  # fp16: only the weights are stored in it, which halves the file

# The operations, of those that NNCF quantises, which can cost accuracy.
QUANTISED = ("Convolution", "GroupConvolution", "MatMul", "Add", "Multiply")
NUM_SEARCH_EXAMPLES = 128  # to calibrate each candidate on, since NNCF takes them one by one


def write(request: ExportRequest) -> None:
    """Write .xml and .bin with a dynamic batch; the metadata is in the model's runtime information `leyden`."""
    if request.precision == "int8" and hasattr(request.module.network, "branching"):
        raise CannotWriteError(
            "in int8, files of a network with early exits predicted different classes for 5% of the sample digits"
        )
    model = convert(request)
    if request.precision == "int8":
        request.steps["lowered"], request.last_step = make_step(model), "quantised"
        model = quantise(model, request.calibration, request.quantisation)
    model.set_rt_info(request.metadata, "leyden")
    model.set_friendly_name("leyden")
    number([each for each in model.get_ordered_ops() if is_unnamed(each)])
    openvino.save_model(model, request.path, compress_to_fp16=request.precision == "fp16")


def convert(request: ExportRequest) -> openvino.Model:
    model = openvino.convert_model(trace(request))
    for output, name in zip(model.outputs, request.output_names, strict=True):
        output.get_tensor().set_names({name})
    spec = request.input_spec
    shapes = {}
    for each, name, example, one in zip(
        model.inputs, spec.names, spec.example_inputs(2), spec.example_inputs(1), strict=True
    ):
        each.get_tensor().set_names({name})
        shapes[name] = [-1 if size != other else size for size, other in zip(example.shape, one.shape, strict=True)]
    model.reshape(shapes)
    number([each for each in model.get_ordered_ops() if each.get_type_name() in QUANTISED])
    return model


def number(operations: list[openvino.Node]) -> None:
    """Name operations by their order, since OpenVINO's own names count all operations that a process has made."""
    for index, operation in enumerate(operations):
        operation.set_friendly_name(f"{operation.get_type_name()}_{index}")


def is_unnamed(operation: openvino.Node) -> bool:
    """Return whether an operation, other than those that can be quantised, has a name of OpenVINO's own."""
    is_numbered = re.fullmatch(r"[A-Za-z]+_\d+", operation.get_friendly_name()) is not None
    return is_numbered and operation.get_type_name() not in QUANTISED


def make_step(model: openvino.Model) -> Step:
    """Return a function that runs a model that has not been written yet."""
    compiled = openvino.compile_model(model.clone(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: torch.from_numpy(compiled(images.numpy())[0].copy())


def list_candidates(request: ExportRequest) -> Candidates:
    """List the operations that NNCF quantises, under their names in the .xml."""
    model = convert(request)
    examples = request.calibration.take(NUM_SEARCH_EXAMPLES)
    layers = [each.get_friendly_name() for each in model.get_ordered_ops() if each.get_type_name() in QUANTISED]
    return Candidates(layers, ("minmax",), lambda chosen: make_step(quantise(model.clone(), examples, chosen)))


def quantise(model: openvino.Model, examples: Examples, quantisation: Quantisation) -> openvino.Model:
    """Quantise weights per channel and activations, calibrated on images one by one."""
    # It prints progress bars.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import nncf

        images = [image for (image,) in batches(examples, 1)]
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            # Without validation: an operation that NNCF fuses into another has no name of its own.
            ignored_scope=nncf.IgnoredScope(names=list(quantisation.float32_layers), validate=False),
        )
