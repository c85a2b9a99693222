"""Dead or exploding activations, by layer."""

import functools
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from leyden.stages.doctor.finding import Finding, join_names

MAX_RMS = 1e4  # float16 ends at 65504; in a well-scaled network, all layers stay below 100
MAX_DEAD_FRACTION = 0.5  # of a layer's units, above which the check warns


class ActivationMonitor(Callback):
    """Records the range of each layer's units: a unit with one value for every example of every step is dead."""

    def __init__(self) -> None:
        self.low: dict[str, Tensor] = {}  # of each unit, over all examples
        self.high: dict[str, Tensor] = {}
        self.rms: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if not list(module.children()):
                module.register_forward_hook(functools.partial(self._record, name))

    def _record(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        tensors = (each for each in tree_leaves(output) if isinstance(each, Tensor) and each.is_floating_point())
        values = next(tensors, None)
        if values is None or values.ndim < 2 or not values.numel() or not module.training:
            return
        unit_dim = 1 if values.ndim == 4 else -1  # channels come first only in images
        units = values.detach().float().movedim(unit_dim, 0).flatten(1)
        low, high = torch.aminmax(units, dim=1)
        same_shape = name in self.low and self.low[name].shape == low.shape
        self.low[name] = torch.minimum(low, self.low[name]) if same_shape else low
        self.high[name] = torch.maximum(high, self.high[name]) if same_shape else high
        self.rms[name] = max(float(units.square().mean().sqrt()), self.rms.get(name, 0.0))

    def check(self) -> Finding:
        dead_fractions = {name: float((self.high[name] == low).float().mean()) for name, low in self.low.items()}
        if exploding := [name for name, rms in self.rms.items() if not rms < MAX_RMS]:
            observation = f"exploding: root mean square {self.rms[exploding[0]]:.2g} after {join_names(exploding)}"
            advice = "use a smaller initialisation of the layers before it, or normalisation (BatchNorm, LayerNorm)"
            return Finding("fail", observation, advice)
        if dead := [name for name, fraction in dead_fractions.items() if fraction == 1]:
            advice = "check the bias and the scale before it; try a smaller learning rate, LeakyReLU or normalisation"
            return Finding("fail", f"dead: every unit of {join_names(dead)} has one value for all examples", advice)
        if dying := [name for name, fraction in dead_fractions.items() if fraction > MAX_DEAD_FRACTION]:
            share = f"{dead_fractions[dying[0]]:.0%}"
            observation = f"{share} of the units of {join_names(dying)} have one value for all examples"
            advice = "try a smaller learning rate or normalisation before it; otherwise a narrower layer is enough"
            return Finding("warn", observation, advice)
        if not self.rms:
            return Finding("skip", "no layer has returned a batch of numbers")
        largest = max(self.rms, key=self.rms.__getitem__)
        return Finding("ok", f"{len(self.rms)} layers; largest root mean square {self.rms[largest]:.2g} ({largest})")
