"""Dead or exploding activations, by layer."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from leyden.stages.doctor.finding import Finding, named

LARGEST_RMS = 1e4  # float16 ends at 65504; a network whose layers keep their scale stays below 100
DEAD_FRACTION = 0.5  # of a layer's units, from which it is worth a word


class Activations(Callback):
    """Follows each layer's units: one that gave the same value for every example of every step says nothing."""

    def __init__(self) -> None:
        self.low: dict[str, Tensor] = {}
        self.high: dict[str, Tensor] = {}
        self.rms: dict[str, float] = {}
        self._handles: list[RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if not any(True for _ in module.children()):
                self._handles.append(
                    module.register_forward_hook(lambda module, _, output, name=name: self._see(name, module, output))
                )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for handle in self._handles:
            handle.remove()

    def _see(self, name: str, module: nn.Module, output: Any) -> None:
        values = next(
            (each for each in tree_leaves(output) if isinstance(each, Tensor) and each.is_floating_point()), None
        )
        if values is None or values.ndim < 2 or not values.numel() or not module.training:
            return
        units = (
            values.detach().float().movedim(1 if values.ndim == 4 else -1, 0).flatten(1)
        )  # channels first only in images
        low, high = torch.aminmax(units, dim=1)
        same = name in self.low and self.low[name].shape == low.shape
        self.low[name] = torch.minimum(low, self.low[name]) if same else low
        self.high[name] = torch.maximum(high, self.high[name]) if same else high
        self.rms[name] = max(float(units.square().mean().sqrt()), self.rms.get(name, 0.0))

    def dead_fractions(self) -> dict[str, float]:
        return {name: float((self.high[name] == low).float().mean()) for name, low in self.low.items()}

    def finding(self) -> Finding:
        check, dead = "activations", self.dead_fractions()
        if wild := [name for name, rms in self.rms.items() if not rms < LARGEST_RMS]:
            seen = f"exploding: root mean square {self.rms[wild[0]]:.2g} behind {named(wild)}"
            return Finding(
                check, "fail", seen, "initialise the layers before it smaller, or normalise (BatchNorm, LayerNorm)"
            )
        if gone := [name for name, fraction in dead.items() if fraction == 1]:
            seen = f"dead: every unit of {named(gone)} gave one value for all examples"
            return Finding(
                check,
                "fail",
                seen,
                "look at the bias and the scale before it; a smaller learning rate, LeakyReLU or normalisation help",
            )
        if dying := [name for name, fraction in dead.items() if fraction > DEAD_FRACTION]:
            seen = f"{dead[dying[0]]:.0%} of the units of {named(dying)} gave one value for all examples"
            return Finding(
                check,
                "warn",
                seen,
                "a smaller learning rate or normalisation before it; or a narrower layer does as well",
            )
        largest = max(self.rms, key=self.rms.__getitem__, default="")
        return Finding(
            check, "ok", f"{len(self.rms)} layers; largest root mean square {self.rms.get(largest, 0):.2g} ({largest})"
        )
