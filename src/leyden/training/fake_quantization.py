"""Training that feels the rounding of int8."""

import functools
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = (nn.Conv2d, nn.Linear)


class FakeQuantization(Callback):
    """Rounds in every forward pass what convolutions and linear layers read and weigh, as int8 files do; gradients pass through.

    Weights are signed 8-bit numbers with a scale for each output channel, to which a batch norm that is folded in later changes
    nothing; what is read is unsigned, with a range that follows the data. Validation rounds too, so that its scores foretell int8's.
    The checkpoint holds plain float32 weights under their own names, to be exported like any other's. torchao's pt2e would train
    an exported graph in the place of the network: without `train()` and `eval()`, and with other names in its checkpoints.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, section 3.
    """

    def __init__(self, decay: float = 0.99) -> None:
        """Choose how slowly the ranges follow.

        Args:
            decay: What remains of a layer's range after a step, in [0, 1); the rest is the batch's smallest and largest value.
        """
        self.decay = decay
        self.ranges: dict[str, Tensor] = {}  # of what each layer reads: smallest and largest, (2,)
        self._layers: list[Any] = []
        self._in_backward = (
            False  # where activation checkpointing recomputes: the ranges must be those of the forward pass
        )

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._in_backward = True

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._in_backward = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            model: Any = pl_module.model
            self.attach(model.network)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for layer in self._layers:
            del layer.forward
        self._layers = []

    def attach(self, network: nn.Module) -> None:
        """Let the layers of a network compute with rounded numbers."""
        layers: dict[str, Any] = {name: layer for name, layer in network.named_modules() if isinstance(layer, LAYERS)}
        for name, layer in layers.items():
            layer.forward = functools.partial(self.run, name, layer)
        self._layers = list(layers.values())

    def run(self, name: str, layer: nn.Conv2d | nn.Linear, values: Tensor) -> Tensor:
        """Compute a layer with rounded values and weights."""
        values, weight = values.float(), layer.weight.float()
        if (layer.training and not self._in_backward) or name not in self.ranges:
            self.follow(name, values.detach())
        values = round_values(values, self.ranges[name].to(values.device))
        weight = round_weight(weight)
        return (
            F.linear(values, weight, layer.bias)
            if isinstance(layer, nn.Linear)
            else layer._conv_forward(values, weight, layer.bias)
        )

    def follow(self, name: str, values: Tensor) -> None:
        low, high = values.aminmax()
        seen = torch.stack([low.clamp(max=0), high.clamp(min=0)])  # zero is always exact: padding is made of it
        self.ranges[name] = seen.lerp(self.ranges[name].to(seen), self.decay) if name in self.ranges else seen

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.world_size > 1:  # one range for all, as there is one model
            together = trainer.strategy.reduce(torch.stack(list(self.ranges.values())), reduce_op="mean")
            self.ranges = dict(zip(self.ranges, together, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"ranges": self.ranges}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.ranges = state_dict["ranges"]


def round_values(values: Tensor, limits: Tensor) -> Tensor:
    """Round to 256 steps between two limits (2,)."""
    scale = ((limits[1] - limits[0]) / 255).clamp(min=1e-12)
    zero = (-limits[0] / scale).round().clamp(0, 255).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)


def round_weight(weight: Tensor) -> Tensor:
    """Round each output channel to 255 steps, the same on both sides of zero."""
    scale = (weight.detach().abs().flatten(1).amax(dim=1) / 127).clamp(min=1e-12)
    return torch.fake_quantize_per_channel_affine(
        weight, scale, torch.zeros_like(scale, dtype=torch.int32), 0, -127, 127
    )
