"""Quantisation of ONNX models by ONNX Runtime: static, with calibrated activations, or dynamic."""

import contextlib
import copy
import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorsData,
    create_calibrator,
    quantize_dynamic,
)
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from leyden.runtimes.examples import Examples, batches
from leyden.stages.export.export_request import Quantisation

CALIBRATION_BATCH_SIZE = 64
CALIBRATIONS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
LINEAR = ["MatMul", "Gemm"]


class OneBatch:
    """A batch in the interface of ONNX Runtime's calibration: `get_next` returns it, and then None."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self._inputs: dict[str, Any] | None = inputs

    def get_next(self) -> dict[str, Any] | None:
        inputs, self._inputs = self._inputs, None
        return inputs


class StaticQuantiser:
    """Quantises weights and activations: activations unsigned, weights signed and per channel.

    Signed activations would prevent ONNX Runtime from fusing every second convolution of a residual network: 4 times
    slower. Weights have 7 bits: with 8, sums of two products would overflow 16 bits on processors without VNNI (logits
    off by 2.1 instead of 0.35). Logits stay float32: with 200 classes, many of the best two are less than a step apart.
    """

    calibrations = tuple(CALIBRATIONS)

    def __init__(self, proto: onnx.ModelProto, examples: Examples) -> None:
        self._examples = examples
        self._ranges: dict[str, TensorsData] = {}
        with tempfile.TemporaryDirectory() as folder:
            original, prepared = Path(folder, "original.onnx"), Path(folder, "prepared.onnx")
            onnx.save(proto, original)  # a file, since weights would be removed from a model passed directly
            # Batch norms are folded into convolutions first, so that they are not quantised separately.
            quant_pre_process(str(original), str(prepared), skip_symbolic_shape=True)
            self._prepared = load_model_with_shape_infer(prepared)

    @property
    def layers(self) -> dict[str, list[str]]:
        """The nodes that are quantised, by layer."""
        graph = self.quantise(Quantisation()).graph
        dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
        return group_by_layer(
            node
            for node in graph.node
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear") and dequantised & set(node.input)
        )

    def quantise(self, quantisation: Quantisation) -> onnx.ModelProto:
        excluded = list_nodes(self.layers, quantisation.float32_layers) if quantisation.float32_layers else []
        quantizer = QDQQuantizer(
            copy.deepcopy(self._prepared),
            per_channel=True,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._find_ranges(quantisation.calibration),
            nodes_to_quantize=[],
            nodes_to_exclude=excluded,
            op_types_to_quantize=[*QLinearOpsRegistry, *QDQRegistry],
            extra_options={"OpTypesToExcludeOutputQuantization": LINEAR},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        return quantizer.model.model

    def _find_ranges(self, calibration: str) -> TensorsData:
        """Run the examples through the model, once for each method of calibration."""
        if calibration not in self._ranges:
            names = [each.name for each in self._prepared.graph.input]
            # It prints progress.
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                prepared = Path(folder, "prepared.onnx")
                onnx.save(self._prepared, prepared)
                calibrator = create_calibrator(
                    prepared,
                    [*QLinearOpsRegistry, *QDQRegistry],
                    augmented_model_path=str(prepared.with_name("augmented.onnx")),
                    calibrate_method=CALIBRATIONS[calibration],
                )
                # Batch by batch: the histogram calibrator keeps every activation of what it reads in one call.
                for batch in batches(self._examples, CALIBRATION_BATCH_SIZE):
                    calibrator.collect_data(OneBatch(dict(zip(names, batch, strict=True))))
                self._ranges[calibration] = calibrator.compute_data()
        return self._ranges[calibration]


class DynamicQuantiser:
    """Quantises the weights of linear layers, also in loops and branches.

    Activations are quantised at run time; convolutions are not quantised.
    """

    calibrations = ("minmax",)

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = proto

    @property
    def layers(self) -> dict[str, list[str]]:
        return group_by_layer(node for node in all_nodes(self._proto.graph) if node.op_type in LINEAR)

    def quantise(self, quantisation: Quantisation) -> onnx.ModelProto:
        with tempfile.TemporaryDirectory() as folder:
            original, quantised = Path(folder, "original.onnx"), Path(folder, "quantised.onnx")
            onnx.save(self._proto, original)
            quantize_dynamic(
                str(original),
                str(quantised),
                op_types_to_quantize=LINEAR,
                nodes_to_exclude=list_nodes(self.layers, quantisation.float32_layers),
                per_channel=True,
                weight_type=QuantType.QInt8,
                reduce_range=True,
                extra_options={"EnableSubgraph": True},
            )
            return onnx.load(quantised)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph, and those of its loops and branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g)


def group_by_layer(nodes: Iterable[onnx.NodeProto]) -> dict[str, list[str]]:
    """Group the names of nodes by the module that they belong to, under the module's name in the network."""
    layers: dict[str, list[str]] = {}
    for node in nodes:
        layers.setdefault(layer_name(node), []).append(node.name)
    return layers


def layer_name(node: onnx.NodeProto) -> str:
    """Name a node by its weight, or by the innermost module that computes it and its operator."""
    # By the weight first: folding a batch norm into a convolution changes the module, but not the weight's name.
    if len(node.input) > 1 and ".weight" in node.input[1]:
        return node.input[1].partition(".weight")[0]
    scopes = next((prop.value for prop in node.metadata_props if prop.key == "pkg.torch.onnx.name_scopes"), "[]")
    modules = [name for name in scopes.strip("[]").replace("'", "").split(", ")[:-1] if name]
    return f"{modules[-1]} ({node.op_type})" if modules else node.name


def list_nodes(layers: dict[str, list[str]], names: Iterable[str]) -> list[str]:
    return [node for name in names for node in layers[name]]
