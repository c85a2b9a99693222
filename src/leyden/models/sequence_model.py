"""A network for sequences together with its preprocessing and labels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leyden.errors import UserError
from leyden.models.image_model import NetworkSpec, build_network


class Standardize(nn.Module):
    """Bring raw values to what the network was trained on: mean 0 and deviation 1 per feature, 0 behind each sequence's end."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, T, F) and lengths (B,) to (B, T, F).

        Raises:
            UserError: if the values are of another number of features or not floating-point.
        """
        if not torch.jit.is_scripting():  # which knows no exceptions but its own
            self.check(values)
        inside = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        return torch.where(inside[..., None], (values - self.mean) / self.std, 0.0)

    def check(self, values: Tensor) -> None:
        if not values.is_floating_point() or values.ndim != 3 or values.shape[2] != self.features:
            raise UserError(
                f"expected values float (B, T, {self.features}); got {values.dtype} {tuple(values.shape)}; pass (time steps, features) per sequence"
            )


class SequenceModel(nn.Module):
    """Raw values of any length in, logits out; knows its labels."""

    __jit_unused_properties__ = ("temperature",)  # torch.jit.script would compile it

    def __init__(self, network: NetworkSpec, labels: Sequence[str], input: dict[str, Any]) -> None:
        """Build the network for the labels and sequences at hand.

        Args:
            network: `class_path` and `init_args` of a torch module whose forward takes values (B, T, F) and lengths (B,).
            labels: Class names, in the order of the logits.
            input: What `leyden prepare` found: `features`, `mean`, `std`.
        """
        super().__init__()
        self.spec: dict[str, Any] = {"network": network, "labels": list(labels), "input": dict(input)}
        self.labels = list(labels)
        self.provenance: dict[str, Any] = {}
        facts = {"num_classes": len(labels), "in_features": input["features"]}
        self.network, _ = build_network(network, facts, needed=list(facts))
        self.preprocess = Standardize(**input)

    @property
    def features(self) -> int:
        return self.preprocess.features

    @property
    def temperature(self) -> float:
        """Divide logits by it before the softmax, for probabilities that are as sure as they are right."""
        return float(self.spec.get("temperature", 1.0))

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, T, F), padded to the longest, and lengths (B,) to logits (B, K)."""
        return self.network(self.preprocess(values, lengths), lengths)
