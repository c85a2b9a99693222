"""How a network is executed: memory layout, compilation and activation checkpointing."""

from dataclasses import dataclass, field

import torch

from leyden.errors import UserError
from leyden.models.build import Model
from leyden.training.activation_checkpointing import checkpoint_modules
from leyden.training.onednn_workaround import apply_onednn_workarounds

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # of torch.compile


@dataclass
class Execution:
    """How the network runs. These settings change time and memory; results stay the same up to rounding.

    Args:
        channels_last: Keep convolutions in NHWC order: several times faster with bf16 on CPUs and GPUs.
        compile: Backend of torch.compile for the network (inductor), or one of its modes (reduce-overhead); null is
            off.
        checkpoint_modules: Class paths of the network's modules that recompute their activations in the backward pass
            instead of storing them.
    """

    channels_last: bool = True
    compile: str | None = None
    checkpoint_modules: list[str] = field(default_factory=list)


def apply_execution(model: Model, execution: Execution) -> None:
    """Apply execution settings to a model, in place; the names of its weights stay the same.

    Raises:
        UserError: if both `compile` and `checkpoint_modules` are set, or a class path names no module of the network.
    """
    if execution.compile and execution.checkpoint_modules:
        raise UserError(
            "expected compile or checkpoint_modules; got both; torch 2.13 cannot compile modules that restore their "
            "buffers; set one to null"
        )
    checkpoint_modules(model.network, execution.checkpoint_modules)
    if execution.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    apply_onednn_workarounds(model.network)
    if execution.compile:
        key = "mode" if execution.compile in COMPILE_MODES else "backend"
        model.network.compile(**{key: execution.compile})  # in place: a wrapper would rename the weights in checkpoints
