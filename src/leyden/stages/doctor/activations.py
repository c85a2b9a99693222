"""Dead or exploding activations, by layer."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from leyden.stages.doctor.finding import Finding, join_names

MAX_RMS = 1e4  # float16 ends at 65504; in a well-scaled network, all layers stay below 100
MAX_DEAD_FRACTION = 0.5  # of a layer's units, above which a warning is given


class ActivationMonitor(Callback):
    """Records the range of each layer's units: a unit with one value for every example of every step is dead."""

    def __init__(self) -> None:
        self.low: dict[str, Tensor] = {}  # of each unit, over all examples
        self.high: dict[str, Tensor] = {}
        self.rms: dict[str, float] = {}
        self._handles: list[RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if not any(True for _ in module.children()):
                self._handles.append(
                    module.register_forward_hook(
                        lambda module, _, output, name=name: self._record(name, module, output)
                    )
                )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for handle in self._handles:
            handle.remove()

    def _record(self, name: str, module: nn.Module, output: Any) -> None:
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

    def dead_fractions(self) -> dict[str, float]:
        """Return the fraction of dead units in each layer."""
        return {name: float((self.high[name] == low).float().mean()) for name, low in self.low.items()}

    def make_finding(self) -> Finding:
        check, dead_fractions = "activations", self.dead_fractions()
        if exploding := [name for name, rms in self.rms.items() if not rms < MAX_RMS]:
            observation = f"exploding: root mean square {self.rms[exploding[0]]:.2g} after {join_names(exploding)}"
            advice = "use a smaller initialisation of the layers before it, or normalisation (BatchNorm, LayerNorm)"
            return Finding(check, "fail", observation, advice)
        if dead := [name for name, fraction in dead_fractions.items() if fraction == 1]:
            observation = f"dead: every unit of {join_names(dead)} has one value for all examples"
            advice = "check the bias and the scale before it; try a smaller learning rate, LeakyReLU or normalisation"
            return Finding(check, "fail", observation, advice)
        if dying := [name for name, fraction in dead_fractions.items() if fraction > MAX_DEAD_FRACTION]:
            fraction = dead_fractions[dying[0]]
            observation = f"{fraction:.0%} of the units of {join_names(dying)} have one value for all examples"
            advice = "try a smaller learning rate or normalisation before it; otherwise a narrower layer is enough"
            return Finding(check, "warn", observation, advice)
        largest = max(self.rms, key=self.rms.__getitem__, default="")
        observation = f"{len(self.rms)} layers; largest root mean square {self.rms.get(largest, 0):.2g} ({largest})"
        return Finding(check, "ok", observation)
