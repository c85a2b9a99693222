"""ONNX, for every runtime that reads it: browsers, phones, C++, C#, Java."""

import contextlib
import io
import warnings
from pathlib import Path

import onnx
import torch

from leyden.models.image_model import ImageModel

OPSET = 20


def write(module: ImageModel, path: Path, metadata: str) -> None:
    """Write an .onnx file with a dynamic batch; labels and input are in its metadata property `leyden`."""
    example = torch.zeros(2, module.channels, *module.image_size, dtype=torch.uint8)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns of its own dependencies
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    strip(proto.graph)
    for function in proto.functions:
        strip(function)
    onnx.helper.set_model_props(proto, {"leyden": metadata, "exporter": f"torch.onnx (dynamo) of torch {torch.__version__}"})
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def strip(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Remove the exporter's notes: they hold stack traces with the paths of this machine."""
    for node in graph.node:
        del node.metadata_props[:]
    del graph.metadata_props[:]
    for value in graph.value_info:
        del value.metadata_props[:]
