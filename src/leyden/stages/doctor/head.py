"""Numerical against analytic gradients of the loss head: what lies between the last layer's weights and the loss."""

import re
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import apply_to_collection
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck
from torch.overrides import TorchFunctionMode

from leyden.stages.doctor.bench import Bench, loss_of
from leyden.stages.doctor.finding import Finding

REDUCED = (torch.float32, torch.float16, torch.bfloat16)


class LastLayer(Callback):
    """Finds out which layer with weights runs last."""

    def __init__(self) -> None:
        self.name = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if any(True for _ in module.parameters(recurse=False)):
                module.register_forward_hook(lambda *_, name=name: setattr(self, "name", name))


class ForceFloat64(TorchFunctionMode):
    """Keeps float64 where code asks for less: finite differences need its digits, and `logits.float()` is a good habit."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16):
            func = torch.Tensor.double
        args = (
            [torch.float64 if arg in REDUCED else arg for arg in args]
            if any(isinstance(arg, torch.dtype) for arg in args)
            else args
        )
        kwargs = {
            key: torch.float64 if isinstance(value, torch.dtype) and value in REDUCED else value
            for key, value in (kwargs or {}).items()
        }
        return func(*args, **kwargs)


class CheckedStep(Callback):
    """A training step that compares the loss's gradient with finite differences, at a change of the last layer's output."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.trouble = ""
        self._module: LightningModule
        self._layer: nn.Module

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._module, self._layer = pl_module, pl_module.get_submodule(self._name)

    def __call__(self, own: Callable[[Any, int], Any], batch: Any, batch_idx: int) -> Any:
        self._module.double()
        batch = apply_to_collection(batch, Tensor, lambda each: each.double() if each.is_floating_point() else each)

        direction = self._direction(lambda: own(batch, batch_idx))

        def loss_at(distance: Tensor) -> Tensor:
            handle = self._layer.register_forward_hook(lambda _, __, output: output + distance * direction)
            torch.manual_seed(0)  # the same dropout each time
            try:
                return loss_of(own(batch, batch_idx))
            finally:
                handle.remove()

        with ForceFloat64():
            try:
                gradcheck(loss_at, torch.zeros((), dtype=torch.float64, device=direction.device, requires_grad=True))
            except GradcheckError as error:
                self.trouble = str(error)
        return None  # no optimizer step: nothing more is learnt from it

    def _direction(self, step: Callable[[], Any]) -> Tensor:
        """Draw a change of the last layer's output; along one direction a wrong backward shows, at a cost that does not grow with the batch."""
        outputs: list[Tensor] = []
        handle = self._layer.register_forward_hook(lambda _, __, output: outputs.append(output))
        step()
        handle.remove()
        return torch.randn_like(outputs[-1], dtype=torch.float64)


def check_head(bench: Bench) -> Finding:
    check, last = "gradient of the loss", LastLayer()
    error = bench.run(1, [last])
    if error or not last.name:
        return Finding(
            check, "skip", f"the step died: {error}" if error else "no layer with weights", "mend that first"
        )
    checked = CheckedStep(last.name)
    if error := bench.run(1, [checked], step=checked, precision="32-true", limit_train_batches=1, max_epochs=1):
        return Finding(check, "skip", f"float64 was refused: {error}", "let the loss follow the dtype of the logits")
    if checked.trouble:
        seen = f"behind {last.name}: {figures(checked.trouble)}"
        return Finding(
            check,
            "fail",
            seen,
            "the backward of a custom autograd function there is wrong: compare it with plain torch operators",
        )
    return Finding(check, "ok", f"analytic and numerical agree behind {last.name}")


def figures(message: str) -> str:
    """Shorten gradcheck's message to its two figures."""
    found = re.search(r"numerical:\D*?([-\d.e+]+).*?analytical:\D*?([-\d.e+]+)", message, re.DOTALL | re.IGNORECASE)
    return f"numerical {found[1]}, analytic {found[2]} along a random direction" if found else message.splitlines()[0]
