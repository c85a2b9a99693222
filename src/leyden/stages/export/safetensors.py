"""safetensors: weights that any framework reads without running code, and metadata to rebuild the network."""

import json

from safetensors.torch import save

from leyden.stages.export.export_request import HALF_DTYPES, CannotWriteError, ExportRequest
from leyden.stages.export.tensor_module import TensorModule

SUFFIX = ".safetensors"
PRECISIONS = SEQUENCE_PRECISIONS = ("fp32", "fp16", "bf16")


def write(request: ExportRequest) -> None:
    """Write the weights in the requested precision; the metadata has the preprocessing and the network's spec."""
    if isinstance(request.module, TensorModule):
        raise CannotWriteError("holds weights only, and needs the module's class: use the checkpoint")
    dtype = HALF_DTYPES.get(request.precision)
    state = {name: tensor.contiguous() for name, tensor in request.module.state_dict().items()}
    if dtype:
        state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    metadata = json.loads(request.metadata) | {"network": request.module.spec["network"]}
    # Only one key: the library writes several in an order that varies between processes.
    request.path.write_bytes(save(state, {"leyden": json.dumps(metadata, ensure_ascii=False, sort_keys=True)}))
