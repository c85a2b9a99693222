"""ExecuTorch (.pte) for phones and small devices, lowered to XNNPACK."""

import json

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge_transform_and_lower

from leyden.stages.export.export_request import Candidates, ExportRequest, Quantisation, Step
from leyden.stages.export.program import trace
from leyden.stages.export.quantised import layer_of, quantise_program, trace_quantised

SUFFIX = ".pte"
PRECISIONS = ("fp32", "int8")
MAX_BATCH = 64  # memory is planned for it; a program traced with fewer images would not accept as many


def write(request: ExportRequest) -> None:
    """Write a .pte file for batches up to MAX_BATCH; its method `leyden` returns the metadata."""
    if request.precision == "int8":
        quantizer = make_quantizer(request.quantisation)
        program = trace_quantised(request, quantizer, MAX_BATCH, MAX_BATCH)
    else:
        program = trace(request, MAX_BATCH, MAX_BATCH)
    metadata = json.loads(request.metadata)
    metadata.setdefault("input", {})["max_batch"] = MAX_BATCH
    methods = {"leyden": json.dumps(metadata, ensure_ascii=False, sort_keys=True)}
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=methods)
    request.path.write_bytes(lowered.to_executorch().buffer)  # its own `save` ignores a full disk


def make_quantizer(quantisation: Quantisation) -> XNNPACKQuantizer:
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    return quantizer.set_filter_function(lambda node: layer_of(node) not in quantisation.float32_layers)


def list_candidates(request: ExportRequest) -> Candidates:
    """List the layers whose operators XNNPACK's quantiser annotates."""
    program = trace(request, MAX_BATCH, MAX_BATCH)
    annotated = make_quantizer(Quantisation()).annotate(program.module())
    layers = [layer_of(node) for node in annotated.graph.nodes if node.meta.get("quantization_annotation")]

    def build(quantisation: Quantisation) -> Step:
        return quantise_program(program, make_quantizer(quantisation), request.calibration)

    return Candidates(list(dict.fromkeys(filter(None, layers))), ("minmax",), build)
