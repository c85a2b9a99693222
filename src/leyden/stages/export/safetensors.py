"""safetensors: weights that any framework reads without running code, and what `leyden.load` rebuilds the network from."""

import json

from safetensors.torch import save

from leyden.stages.export.request import HALF_DTYPES, Request

SUFFIX = ".safetensors"
PRECISIONS = SEQUENCES = ("fp32", "fp16", "bf16")


def write(request: Request) -> None:
    """Write the weights, rounded to the precision asked for; preprocessing and network are in the metadata, not in the weights."""
    dtype = HALF_DTYPES.get(request.precision)
    state = {name: tensor.contiguous() for name, tensor in request.module.state_dict().items()}
    if dtype is not None:
        state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    metadata = json.loads(request.metadata) | {"network": request.module.spec["network"]}
    # One key only: the format's library writes several in an order that changes from process to process.
    request.path.write_bytes(save(state, {"leyden": json.dumps(metadata, ensure_ascii=False, sort_keys=True)}))
