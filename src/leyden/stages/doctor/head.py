"""Numerical against analytic gradients of the loss with respect to the output of the last layer."""

import re
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import apply_to_collection
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck
from torch.overrides import TorchFunctionMode

from leyden.stages.doctor.finding import Finding
from leyden.stages.doctor.trial import TrialRunner, get_loss

REDUCED_PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)


class LastLayerFinder(Callback):
    """Finds the layer with parameters that runs last."""

    def __init__(self) -> None:
        self.name = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if list(module.parameters(recurse=False)):
                module.register_forward_hook(lambda *_, name=name: setattr(self, "name", name))


class ForceFloat64(TorchFunctionMode):
    """Computes in float64 where code converts to less, as `logits.float()` does: finite differences need its digits."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16):
            func = torch.Tensor.double
        if any(isinstance(arg, torch.dtype) for arg in args):
            args = [torch.float64 if arg in REDUCED_PRECISIONS else arg for arg in args]
        kwargs = {
            key: torch.float64 if isinstance(value, torch.dtype) and value in REDUCED_PRECISIONS else value
            for key, value in (kwargs or {}).items()
        }
        return func(*args, **kwargs)


class GradcheckStep(Callback):
    """A training step that compares the loss's gradient with finite differences, for a change of one layer's output."""

    def __init__(self, layer_name: str) -> None:
        self.error = ""
        self._layer_name = layer_name
        self._module: LightningModule
        self._layer: nn.Module

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._module, self._layer = pl_module, pl_module.get_submodule(self._layer_name)

    def __call__(self, own_step: Callable[[Any, int], Any], batch: Any, batch_idx: int) -> Any:
        self._module.double()
        batch = apply_to_collection(batch, Tensor, lambda each: each.double() if each.is_floating_point() else each)
        direction = self._draw_direction(lambda: own_step(batch, batch_idx))

        def loss_at(distance: Tensor) -> Tensor:
            handle = self._layer.register_forward_hook(lambda _, __, output: output + distance * direction)
            torch.manual_seed(0)  # the same dropout mask each time
            try:
                return get_loss(own_step(batch, batch_idx))
            finally:
                handle.remove()

        with ForceFloat64():
            try:
                gradcheck(loss_at, torch.zeros((), dtype=torch.float64, device=direction.device, requires_grad=True))
            except GradcheckError as error:
                self.error = str(error)
        return None  # skips the optimizer step

    def _draw_direction(self, step: Callable[[], Any]) -> Tensor:
        """Draw a random change of the layer's output.

        A wrong backward is visible along one direction, at a cost that does not grow with the batch.
        """
        outputs: list[Tensor] = []
        handle = self._layer.register_forward_hook(lambda _, __, output: outputs.append(output))
        step()
        handle.remove()
        return torch.randn_like(outputs[-1], dtype=torch.float64)


def check_head(runner: TrialRunner) -> Finding:
    """Check the backward pass from the loss to the output of the last layer with parameters."""
    last_layer = LastLayerFinder()
    error = runner.run(1, [last_layer])
    if error or not last_layer.name:
        observation = f"the step failed: {error}" if error else "no layer with parameters"
        return Finding("skip", observation, "fix that first")
    step = GradcheckStep(last_layer.name)
    if error := runner.run(1, [step], step=step, precision="32-true", limit_train_batches=1, max_epochs=1):
        return Finding("skip", f"float64 failed: {error}", "let the loss use the dtype of the logits")
    if step.error:
        observation = f"after {last_layer.name}: {summarize_gradcheck(step.error)}"
        advice = "the backward of a custom autograd function there is wrong: compare it with plain torch operators"
        return Finding("fail", observation, advice)
    return Finding("ok", f"analytic and numerical gradients agree after {last_layer.name}")


def summarize_gradcheck(message: str) -> str:
    """Shorten gradcheck's message to its two numbers."""
    match = re.search(
        r"numerical:\D*?(-?\d[\d.e+-]*).*?analytical:\D*?(-?\d[\d.e+-]*)", message, re.DOTALL | re.IGNORECASE
    )
    return f"numerical {match[1]}, analytic {match[2]} along a random direction" if match else message.splitlines()[0]
