"""ONNX, for every runtime that reads it: browsers, phones, C++, C#, Java."""

import contextlib
import io
from typing import TYPE_CHECKING

import onnx
import torch
from torch import Tensor

from leyden.stages.export.export_request import Candidates, ExportRequest, Step, cast_model

if TYPE_CHECKING:
    from leyden.stages.export.onnx_quantisation import DynamicQuantiser, StaticQuantiser

SUFFIX = ".onnx"
PRECISIONS = ("fp32", "fp16", "int8", "int8_dynamic")
SEQUENCE_PRECISIONS = ("fp32", "int8_dynamic")
BRANCHING_PRECISIONS = ("fp32", "fp16", "int8_dynamic")


def write(request: ExportRequest) -> None:
    """Write an .onnx file with a dynamic batch (and time).

    Its metadata is in the property `leyden`, and the exporter's version in `exporter`.
    """
    proto = export(request)
    if request.precision.startswith("int8"):
        request.steps["lowered"], request.last_step = make_step(proto), "quantised"
        proto = make_quantiser(proto, request).quantise(request.quantisation)
    for graph in (proto.graph, *proto.functions):
        for part in (graph, *graph.node, *graph.value_info):
            del part.metadata_props[:]  # stack traces with paths of this machine
    exporter = f"torch.onnx (dynamo) of torch {torch.__version__}"
    onnx.helper.set_model_props(proto, {"leyden": request.metadata, "exporter": exporter})
    onnx.checker.check_model(proto)
    request.path.write_bytes(proto.SerializeToString(deterministic=True))


def export(request: ExportRequest) -> onnx.ModelProto:
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            cast_model(request),
            request.input_spec.example_inputs(2),
            dynamo=True,
            opset_version=20,
            input_names=list(request.input_spec.names),
            output_names=request.output_names,
            dynamic_shapes=request.input_spec.dynamic_shapes(),
            verbose=False,
        )
    assert program is not None
    if program.exported_program is not None:
        request.steps["exported"] = program.exported_program.module()
    return program.model_proto


def make_step(proto: onnx.ModelProto) -> Step:
    """Return a function that runs a model that has not been written yet."""
    content = proto.SerializeToString()

    def run(*inputs: Tensor) -> Tensor:
        from onnxruntime import InferenceSession

        session = InferenceSession(content, providers=["CPUExecutionProvider"])
        feeds = {each.name: values.numpy() for each, values in zip(session.get_inputs(), inputs, strict=True)}
        return torch.from_numpy(session.run(None, feeds)[0])

    return run


def make_quantiser(proto: onnx.ModelProto, request: ExportRequest) -> "StaticQuantiser | DynamicQuantiser":
    from leyden.stages.export.onnx_quantisation import DynamicQuantiser, StaticQuantiser

    del proto.graph.value_info[:]  # some of the shapes recorded here are out of date: quantising would fail
    if request.precision == "int8_dynamic":
        return DynamicQuantiser(proto)
    return StaticQuantiser(proto, request.calibration)


def list_candidates(request: ExportRequest) -> Candidates:
    quantiser = make_quantiser(export(request), request)
    return Candidates(
        list(quantiser.layers),
        quantiser.calibrations,
        lambda quantisation: make_step(quantiser.quantise(quantisation)),
    )
