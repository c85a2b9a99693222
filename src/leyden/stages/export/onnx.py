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
from leyden.stages.export.request import Request, Step, reduced

SUFFIX = ".onnx"
PRECISIONS = ("fp32", "fp16", "int8", "int8_dynamic")
SEQUENCES = ("fp32", "int8_dynamic")
BRANCHES = ("fp32", "fp16", "int8_dynamic")
OPSET = 20


def write(request: Request) -> None:
    """Write an .onnx file with a dynamic batch (and time); its metadata is in the property `leyden`, what exported it in `exporter`."""
    proto = export(request)
    if request.precision.startswith("int8"):
        request.steps["lowered"], request.last_step = step_of(proto), "quantised"
        proto = quantise_dynamic(proto) if request.precision == "int8_dynamic" else quantise(proto, request)
    strip(proto.graph)
    for function in proto.functions:
        strip(function)
    onnx.helper.set_model_props(
        proto, {"leyden": request.metadata, "exporter": f"torch.onnx (dynamo) of torch {torch.__version__}"}
    )
    onnx.checker.check_model(proto)
    request.path.write_bytes(proto.SerializeToString(deterministic=True))


def export(request: Request) -> onnx.ModelProto:
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            reduced(request),
            request.inputs.example(2),
            dynamo=True,
            opset_version=OPSET,
            input_names=request.inputs.names,
            output_names=["logits"],
            dynamic_shapes=request.inputs.dynamic_shapes(),
            verbose=False,
        )
    assert program is not None
    if program.exported_program is not None:
        request.steps["exported"] = program.exported_program.module()
    return program.model_proto


def step_of(proto: onnx.ModelProto) -> Step:
    """Make a model that was not written yet callable."""
    content = proto.SerializeToString()

    def run(*inputs: Tensor) -> Tensor:
        from onnxruntime import InferenceSession

        session = InferenceSession(content, providers=["CPUExecutionProvider"])
        named = {each.name: values.numpy() for each, values in zip(session.get_inputs(), inputs, strict=True)}
        return torch.from_numpy(session.run(["logits"], named)[0])

    return run


def strip(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Remove the exporter's notes: they hold stack traces with the paths of this machine."""
    for node in graph.node:
        del node.metadata_props[:]
    del graph.metadata_props[:]
    for value in graph.value_info:
        del value.metadata_props[:]


class Batches:
    """Calibration examples as ONNX Runtime asks for them: `get_next` gives inputs by name, and None after the last."""

    def __init__(self, request: Request) -> None:
        self._names, self._batches = request.inputs.names, batches(request.calibration, 64)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(zip(self._names, batch, strict=True))


def quantise(proto: onnx.ModelProto, request: Request) -> onnx.ModelProto:
    """Quantise to 8 bits, calibrated on the request's images: activations unsigned, weights signed and per channel.

    Signed activations would keep ONNX Runtime from fusing every second convolution of a residual network: 4 times slower. Weights have
    7 bits: sums of two products with 8 would overflow 16 bits on processors without VNNI (logits off by 2.1 in place of 0.35).
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        given, prepared, written = (Path(folder, f"{name}.onnx") for name in ("given", "prepared", "written"))
        onnx.save(without_shapes(proto), given)  # its weights would be taken out of a model that is given itself
        # Normalisation is folded into convolutions before, so that it is not quantised by itself.
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(written),
            Batches(request),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )
        return onnx.load(written)


def quantise_dynamic(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise the weights of linear layers, also in loops and branches; activations are quantised as they come, convolutions stay as they are."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder, "given.onnx"), Path(folder, "written.onnx")
        onnx.save(without_shapes(proto), given)
        quantize_dynamic(
            str(given),
            str(written),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            extra_options={"EnableSubgraph": True},
        )
        return onnx.load(written)


def without_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the shapes that the exporter noted: some are stale, and the quantisers stumble over them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.value_info[:]
    return copy
