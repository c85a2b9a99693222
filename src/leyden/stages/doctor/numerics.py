"""NaN or infinity, and the operator that made it."""

import re
import traceback
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from leyden.stages.doctor.bench import Bench, place
from leyden.stages.doctor.finding import Finding, named

# What puts an infinity there on purpose (masks), or gives memory that holds whatever was there.
EXEMPT = ("empty", "full", "fill", "masked_fill", "new_empty", "new_full", "resize")


class NonFiniteError(ArithmeticError):
    """Ends a run that has nothing more to tell."""


class FiniteCheck(Callback):
    """Stops at the first batch, loss or gradient that is not finite."""

    def __init__(self) -> None:
        self.trouble = ""
        self.steps = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.steps += 1
        if has_non_finite(batch):
            self._stop("the batch itself")

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if has_non_finite(loss):
            self._stop(f"loss {float(loss):.3g}")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if broken := [name for name, parameter in pl_module.named_parameters() if has_non_finite(parameter.grad)]:
            self._stop(f"gradient of {named(broken)}")

    def _stop(self, trouble: str) -> None:
        self.trouble = f"{trouble} in step {self.steps}"
        raise NonFiniteError(self.trouble)


class NonFiniteTracer(TorchDispatchMode):
    """Names the first operator that made NaN or infinity of finite inputs, with the place in the user's code."""

    def __init__(self) -> None:
        super().__init__()
        self.found = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (args, kwargs or {})
        name = func._schema.name.split("::")[-1].rstrip("_")
        if (
            self.found or name.startswith(EXEMPT) or has_non_finite(given)
        ):  # asked before: an in-place operator's input is its output
            return func(*args, **(kwargs or {}))
        output = func(*args, **(kwargs or {}))
        if has_non_finite(output):
            self.found = f"{name} {where()}"
        return output


def where() -> str:
    """Tell which line of the user's code runs an operator; in the backward pass, the line whose backward it is."""
    node: Any = torch._C._current_autograd_node()
    if node is None:
        return f"at {place(traceback.extract_stack())}"
    stack = parse_stack("".join(node.metadata.get("traceback_", ())))
    return f"in {node.name()}, the backward of {place(stack)}"


def parse_stack(text: str) -> list[traceback.FrameSummary]:
    """Read file and line from a formatted stack."""
    return [
        traceback.FrameSummary(file, int(line), name)
        for file, line, name in re.findall(r'File "(.+?)", line (\d+), in (\S+)', text)
    ]


def has_non_finite(tree: Any) -> bool:
    """Tell whether any floating-point tensor in a nested structure holds NaN or infinity."""
    tensors = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point())
    return any(not bool(torch.isfinite(tensor.detach()).all()) for tensor in tensors)


def check_finite(bench: Bench, finite: FiniteCheck) -> Finding:
    """Tell whether the steps stayed finite; if not, repeat them operator by operator."""
    check = "NaN and infinity"
    if not finite.trouble:
        return Finding(check, "ok", f"batches, losses and gradients of {finite.steps} steps are finite")
    if finite.trouble.startswith("the batch"):
        return Finding(check, "fail", finite.trouble, "mend the data: a NaN in one example spoils its whole batch")
    culprit = NonFiniteTracer()
    bench.run(finite.steps, [FiniteCheck()], mode=culprit, detect_anomaly=True)
    seen = f"{finite.trouble}: first made by {culprit.found or 'an operator that did not do it again'}"
    return Finding(
        check,
        "fail",
        seen,
        "bound what goes in (clamp, eps, log_softmax for log of softmax), or a smaller learning rate",
    )
