"""NaN or infinity, and the operator that produced it."""

import re
import traceback
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from leyden.stages.doctor.finding import Finding, join_names
from leyden.stages.doctor.trial import TrialRunner, locate_frame

# Operators that write infinities on purpose (masks), or return uninitialised memory.
EXEMPT = ("empty", "full", "fill", "masked_fill", "new_empty", "new_full", "resize")


class NonFiniteError(ArithmeticError):
    """Ends a trial at the first value that is not finite."""


class FiniteCheck(Callback):
    """Stops at the first batch, loss or gradient that is not finite."""

    def __init__(self) -> None:
        self.problem = ""
        self.num_steps = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.num_steps += 1
        if has_non_finite(batch):
            self._stop("the batch itself")

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if has_non_finite(loss):
            self._stop(f"loss {float(loss):.3g}")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if names := [name for name, parameter in pl_module.named_parameters() if has_non_finite(parameter.grad)]:
            self._stop(f"gradient of {join_names(names)}")

    def _stop(self, problem: str) -> None:
        self.problem = f"{problem} in step {self.num_steps}"
        raise NonFiniteError(self.problem)


class NonFiniteTracer(TorchDispatchMode):
    """Records the first operator that produces NaN or infinity from finite inputs, and its line in the user's code."""

    def __init__(self) -> None:
        super().__init__()
        self.origin = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[-1].rstrip("_")
        # The inputs are checked first: the output of an in-place operator overwrites one of them.
        if self.origin or name.startswith(EXEMPT) or has_non_finite((args, kwargs)):
            return func(*args, **kwargs)
        output = func(*args, **kwargs)
        if has_non_finite(output):
            self.origin = f"{name} {locate_operator()}"
        return output


def locate_operator() -> str:
    """Return the line that runs the current operator; in the backward pass, the line whose backward it is."""
    node: Any = torch._C._current_autograd_node()
    if node is None:
        return f"at {locate_frame(traceback.extract_stack())}"
    stack = parse_stack("".join(node.metadata.get("traceback_", ())))
    return f"in {node.name()}, the backward of {locate_frame(stack)}"


def parse_stack(text: str) -> list[traceback.FrameSummary]:
    """Parse file and line of each frame of a formatted stack."""
    return [
        traceback.FrameSummary(file, int(line), name)
        for file, line, name in re.findall(r'File "(.+?)", line (\d+), in (\S+)', text)
    ]


def has_non_finite(tree: Any) -> bool:
    """Return whether any floating-point tensor in a nested structure contains NaN or infinity."""
    tensors = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point())
    return any(not bool(torch.isfinite(tensor.detach()).all()) for tensor in tensors)


def check_finite(runner: TrialRunner, finite: FiniteCheck) -> Finding:
    """Check whether a trial stayed finite; if not, repeat it and test every operator's output."""
    if not finite.problem:
        return Finding("ok", f"batches, losses and gradients of {finite.num_steps} steps are finite")
    if finite.problem.startswith("the batch"):
        advice = "fix the data: NaN in one example makes the whole batch's loss NaN"
        return Finding("fail", finite.problem, advice)
    tracer = NonFiniteTracer()
    runner.run(finite.num_steps, [FiniteCheck()], context=tracer, detect_anomaly=True)
    observation = f"{finite.problem}: first produced by {tracer.origin or 'an operator that did not do so again'}"
    advice = "bound its inputs (clamp, eps, log_softmax for log of softmax), or use a smaller learning rate"
    return Finding("fail", observation, advice)
