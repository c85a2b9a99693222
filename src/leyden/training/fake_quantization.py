"""Quantization-aware training: forward passes round as int8 files do."""

import functools
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.ranges import check_range

LAYERS = (nn.Conv2d, nn.Linear)


class FakeQuantization(Callback):
    """Rounds the inputs and weights of convolutions and linear layers to int8's values; gradients pass through.

    Weights are signed, with one scale per output channel, which a batch norm that is folded in later does not change.
    Inputs are unsigned, with a range that follows the data. Validation rounds too, so that its scores predict int8's.
    Checkpoints hold plain float32 weights under their usual names, to be exported like any other's. (torchao's pt2e
    trains an exported graph instead of the network: it has no `train()` and `eval()`, and other names in its
    checkpoints.)

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", 2018, section 3.
    """

    def __init__(self, decay: float = 0.99) -> None:
        """Choose how fast the ranges of inputs follow the data.

        Args:
            decay: Weight of a layer's previous range in its moving average, in [0, 1).
        """
        check_range("trainer.callbacks", "[0, 1)", decay=decay)
        self.decay = decay
        self.ranges: dict[str, Tensor] = {}  # of each layer's inputs: minimum and maximum, (2,)
        self._layers: list[Any] = []
        # Activation checkpointing recomputes in the backward pass, with the ranges of the forward pass.
        self._in_backward = False

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
        """Replace the forward pass of a network's convolutions and linear layers."""
        layers: dict[str, Any] = {name: layer for name, layer in network.named_modules() if isinstance(layer, LAYERS)}
        for name, layer in layers.items():
            layer.forward = functools.partial(self.forward_quantized, name, layer)
        self._layers = list(layers.values())

    def forward_quantized(self, name: str, layer: nn.Conv2d | nn.Linear, inputs: Tensor) -> Tensor:
        inputs = inputs.float()
        if (layer.training and not self._in_backward) or name not in self.ranges:
            self._update_range(name, inputs.detach())
        inputs = quantize_inputs(inputs, self.ranges[name].to(inputs.device))
        weight = quantize_weight(layer.weight.float())
        if isinstance(layer, nn.Linear):
            return F.linear(inputs, weight, layer.bias)
        return layer._conv_forward(inputs, weight, layer.bias)

    def _update_range(self, name: str, inputs: Tensor) -> None:
        low, high = inputs.aminmax()
        current = torch.stack([low.clamp(max=0), high.clamp(min=0)])  # zero is always exact, because padding is zero
        if name in self.ranges:
            current = current.lerp(self.ranges[name].to(current), self.decay)
        self.ranges[name] = current

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.world_size > 1:  # all processes use the same ranges
            means = trainer.strategy.reduce(torch.stack(list(self.ranges.values())), reduce_op="mean")
            self.ranges = dict(zip(self.ranges, means, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"ranges": self.ranges}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.ranges = state_dict["ranges"]


def quantize_inputs(inputs: Tensor, limits: Tensor) -> Tensor:
    """Round to 256 equally spaced values between two limits (2,)."""
    scale = ((limits[1] - limits[0]) / 255).clamp(min=1e-12)
    zero_point = (-limits[0] / scale).round().clamp(0, 255).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(inputs, scale, zero_point, 0, 255)


def quantize_weight(weight: Tensor) -> Tensor:
    """Round each output channel to 255 equally spaced values, symmetric around zero."""
    scale = (weight.detach().abs().flatten(1).amax(dim=1) / 127).clamp(min=1e-12)
    zero_points = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero_points, 0, -127, 127)
