"""ONNX, for every runtime that reads it: browsers, phones, C++, C#, Java."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from leyden.runtimes.examples import batches
from leyden.stages.export.export_request import ExportRequest, Step, cast_model

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
        del proto.graph.value_info[:]  # some of the shapes recorded here are out of date: quantising would fail
        proto = quantise_dynamic(proto) if request.precision == "int8_dynamic" else quantise(proto, request)
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
            output_names=["logits"],
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
        return torch.from_numpy(session.run(["logits"], feeds)[0])

    return run


class CalibrationReader:
    """Calibration examples in ONNX Runtime's interface: `get_next` returns inputs by name, and None after the last."""

    def __init__(self, request: ExportRequest) -> None:
        self._names, self._batches = request.input_spec.names, batches(request.calibration, 64)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(zip(self._names, batch, strict=True))


def quantise(proto: onnx.ModelProto, request: ExportRequest) -> onnx.ModelProto:
    """Quantise to 8 bits, calibrated on the request's images: activations unsigned, weights signed and per channel.

    Signed activations would prevent ONNX Runtime from fusing every second convolution of a residual network: 4 times
    slower. Weights have 7 bits: with 8, sums of two products would overflow 16 bits on processors without VNNI (logits
    off by 2.1 instead of 0.35).
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        original, prepared, quantised = (Path(folder, f"{name}.onnx") for name in ("original", "prepared", "quantised"))
        onnx.save(proto, original)  # a file, since weights would be removed from a model passed directly
        # Batch norms are folded into convolutions first, so that they are not quantised separately.
        quant_pre_process(str(original), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantised),
            CalibrationReader(request),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )
        return onnx.load(quantised)


def quantise_dynamic(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise the weights of linear layers, also in loops and branches.

    Activations are quantised at run time; convolutions are not quantised.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        original, quantised = Path(folder, "original.onnx"), Path(folder, "quantised.onnx")
        onnx.save(proto, original)
        quantize_dynamic(
            str(original),
            str(quantised),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            extra_options={"EnableSubgraph": True},
        )
        return onnx.load(quantised)
