"""A network for sequences together with its preprocessing and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leyden.errors import UserError
from leyden.models.description import describe_model
from leyden.models.network_spec import NetworkSpec, build_network
from leyden.tasks import CLASSIFICATION, load_task


class Standardize(nn.Module):
    """Standardise raw values to mean 0 and standard deviation 1 per feature, and set the padding to 0."""

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
            UserError: if the values are not floating-point, or have a different number of features.
        """
        if not torch.jit.is_scripting():  # TorchScript supports built-in exceptions only
            self.check_values(values)
        is_valid = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        return torch.where(is_valid[..., None], (values - self.mean) / self.std, 0.0)

    def check_values(self, values: Tensor) -> None:
        if not values.is_floating_point() or values.ndim != 3 or values.shape[2] != self.features:
            raise UserError(
                f"expected values float (B, T, {self.features}); got {values.dtype} {tuple(values.shape)}; "
                "pass (time steps, features) per sequence"
            )


class SequenceModel(nn.Module):
    """A network with its preprocessing, task and labels: maps raw sequences of any length to the task's outputs."""

    __jit_unused_properties__ = ("input", "temperature")  # otherwise torch.jit.script would compile them

    def __init__(
        self,
        network: NetworkSpec,
        labels: Sequence[str],
        input: dict[str, Any],
        task: Mapping[str, Any] = CLASSIFICATION,
    ) -> None:
        """Build the network for these labels and sequences.

        Args:
            network: `class_path` and `init_args` of a torch module whose forward accepts values (B, T, F) and lengths
                (B,).
            labels: Names of the outputs: classes, for example.
            input: Description of the sequences by `leyden prepare`: `features`, `mean`, `std`.
            task: Name of the task, and its facts.
        """
        super().__init__()
        self.spec: dict[str, Any] = describe_model(network, labels, input, task)
        self.labels, self.features = list(labels), input["features"]
        self.provenance: dict[str, Any] = {}
        data_args = {"num_classes": len(labels), "in_features": self.features}
        self.network, _ = build_network(network, data_args, required=list(data_args))
        self.preprocess = Standardize(**input)
        self.output = load_task(self.spec).make_output()

    @property
    def input(self) -> dict[str, Any]:
        """The description of the sequences."""
        return self.spec["input"]

    @property
    def temperature(self) -> float:
        """The divisor of the logits before the softmax that calibrates the probabilities."""
        return float(self.spec.get("temperature", 1.0))

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, T, F), padded to the longest, and lengths (B,) to outputs (B, K)."""
        return self.output(self.network(self.preprocess(values, lengths), lengths))
