"""A network together with its preprocessing, task and labels: what is trained, saved, exported and explained."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.errors import UserError
from leyden.models.description import describe_model
from leyden.models.network_spec import NetworkSpec, build_network
from leyden.models.normalization import Normalization
from leyden.tasks import CLASSIFICATION, load_task


class Preprocess(nn.Module):
    """Convert raw images to the network's input: resize, normalise and repeat channels as in training."""

    mean: Tensor
    std: Tensor

    def __init__(self, input: Mapping[str, Any], expand: bool) -> None:
        """Store the description of the training images.

        Args:
            input: `channels`, `image_size`, and `mean` and `std` of each channel for pixels in [0, 1]; further keys
                describe how files become pixels.
            expand: Repeat a single channel three times, for a network that accepts RGB only.
        """
        super().__init__()
        self.channels, self.expand = input["channels"], expand
        self.image_size = (int(input["image_size"][0]), int(input["image_size"][1]))
        self.register_buffer("mean", torch.tensor(input["mean"]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(input["std"]).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images (B, C, H, W) of any size to float (B, C', H', W').

        Raises:
            UserError: if the images are not uint8, or have a different number of channels.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != self.channels:
            raise UserError(
                f"expected uint8 images (B, {self.channels}, H, W); got {images.dtype} {tuple(images.shape)}; "
                "pass raw pixels from 0 to 255, channels first"
            )
        pixels = images.to(self.mean.dtype) / 255
        if pixels.shape[2:] != self.image_size:
            pixels = F.interpolate(pixels, self.image_size, mode="bilinear", antialias=True)
        return self.normalize(pixels)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Normalise pixels in [0, 1], (B, C, H, W), and repeat a single channel where the network accepts RGB only."""
        return self.expand_channels((pixels - self.mean) / self.std)

    def set_normalization(self, normalization: Normalization) -> None:
        """Replace the mean and standard deviation of each channel."""
        for name, values in normalization._asdict().items():
            getattr(self, name).copy_(torch.tensor(values).view(1, -1, 1, 1))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return float32 (C,) and (C,) such that normalised = scale * pixel + shift, for pixels from 0 to 255."""
        mean, std = self.mean.float().flatten(), self.std.float().flatten()
        return 1 / (255 * std), -mean / std

    def expand_channels(self, pixels: Tensor) -> Tensor:
        """Repeat the channel of normalised images (B, 1, H, W) where the network accepts RGB only."""
        return pixels.expand(-1, 3, -1, -1) if self.expand else pixels


class ImageModel(nn.Module):
    """A network with its preprocessing, task and labels: maps raw uint8 images of any size to the task's outputs."""

    def __init__(
        self,
        network: NetworkSpec,
        labels: Sequence[str],
        input: dict[str, Any],
        task: Mapping[str, Any] = CLASSIFICATION,
    ) -> None:
        """Build the network for these labels and images.

        Args:
            network: `class_path` and `init_args` of any torch module, or of a function that returns one.
            labels: Names of the outputs: classes, for example.
            input: Description of the images by `leyden prepare`: `channels`, `image_size`, `mean`, `std`, and how files
                are read (`reader`).
            task: Name of the task, and its facts.
        """
        super().__init__()
        self.spec: dict[str, Any] = describe_model(network, labels, input, task)
        self.labels = list(labels)
        self.provenance: dict[str, Any] = {}  # config, data hash and code version, if a checkpoint has them
        data_args = {
            "num_classes": len(labels),
            "in_channels": input["channels"],
            "image_size": tuple(input["image_size"]),
        }
        self.network, accepted = build_network(network, data_args)
        self.preprocess = Preprocess(input, expand=input["channels"] == 1 and "in_channels" not in accepted)
        self.output = load_task(self.spec).make_output()
        self.channels, self.image_size = self.preprocess.channels, self.preprocess.image_size

    def set_normalization(self, normalization: Normalization) -> None:
        """Normalise images as in the network's pretraining, instead of by the data's statistics."""
        if (fitting := normalization.of_channels(self.channels)) is None:
            return
        self.preprocess.set_normalization(fitting)
        self.spec["input"] = self.spec["input"] | {name: list(values) for name, values in fitting._asdict().items()}

    @property
    def input(self) -> dict[str, Any]:
        """The description of the images."""
        return self.spec["input"]

    @property
    def temperature(self) -> float:
        """The divisor of the logits before the softmax that calibrates the probabilities."""
        return float(self.spec.get("temperature", 1.0))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images (B, C, H, W) to outputs (B, K), or (B, K, height, width) for a value per pixel."""
        return self.output(self.network(self.preprocess(images)))
