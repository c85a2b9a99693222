"""A network together with its preprocessing and labels: what is trained, saved, exported and explained."""

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.class_paths import import_path
from leyden.errors import UserError
from leyden.trust.network_classes import check_network_class, current_source

NetworkSpec = dict[str, Any]  # {"class_path": "leyden.models.ResNet", "init_args": {"width": 32}}
DOWNLOADING = ("torchvision.", "timm.")  # their arguments that ask for pretrained weights, and the values that do not:
PRETRAINED = {
    "weights": None,
    "weights_backbone": None,
    "pretrained": False,
    "pretrained_backbone": False,
    "checkpoint_path": "",
}


class Preprocess(nn.Module):
    """Bring raw images to what the network was trained on: channels, size, scale, mean and deviation."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, image_size: Sequence[int], mean: Sequence[float], std: Sequence[float], expand: bool
    ) -> None:
        """Store the description of the training images.

        Args:
            channels: Channels of the images that go in, 1 or 3.
            image_size: Height and width in pixels that come out.
            mean: Mean of each channel, of pixels in [0, 1].
            std: Standard deviation of each channel, likewise.
            expand: Repeat a single channel three times, for a network that takes RGB only.
        """
        super().__init__()
        self.channels, self.expand = channels, expand
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images (B, C, H, W) of any size to float (B, C', H', W').

        Raises:
            UserError: if the images are not uint8, or of another number of channels.
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
        """Normalise pixels in [0, 1], (B, C, H, W), and repeat a single channel where the network takes RGB only."""
        return self.expand_channels((pixels - self.mean) / self.std)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return factor and offset of each channel, float32 (C,): normalised = scale * pixel + shift, pixels from 0 to 255."""
        mean, std = self.mean.float().flatten(), self.std.float().flatten()
        return 1 / (255 * std), -mean / std

    def expand_channels(self, pixels: Tensor) -> Tensor:
        """Repeat the channel of normalised images (B, 1, H, W) where the network takes RGB only."""
        return pixels.expand(-1, 3, -1, -1) if self.expand else pixels


class ImageModel(nn.Module):
    """Raw uint8 images of any size in, logits out; knows its labels."""

    def __init__(self, network: NetworkSpec, labels: Sequence[str], input: dict[str, Any]) -> None:
        """Build the network for the labels and images at hand.

        Args:
            network: `class_path` and `init_args` of any torch module, or of a function that returns one.
            labels: Class names, in the order of the logits.
            input: What `leyden prepare` found: `channels`, `image_size`, `mean`, `std`.
        """
        super().__init__()
        self.spec: dict[str, Any] = {"network": network, "labels": list(labels), "input": dict(input)}
        self.labels = list(labels)
        self.provenance: dict[str, Any] = {}  # config, data hash and code version, where a checkpoint tells them
        facts = {"num_classes": len(labels), "in_channels": input["channels"], "image_size": tuple(input["image_size"])}
        self.network, told = build_network(network, facts)
        self.preprocess = Preprocess(**input, expand=input["channels"] == 1 and "in_channels" not in told)

    @property
    def channels(self) -> int:
        return self.preprocess.channels

    @property
    def image_size(self) -> tuple[int, int]:
        return self.preprocess.image_size

    @property
    def temperature(self) -> float:
        """Divide logits by it before the softmax, for probabilities that are as sure as they are right."""
        return float(self.spec.get("temperature", 1.0))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images (B, C, H, W) to logits (B, K)."""
        return self.network(self.preprocess(images))


def build_network(
    spec: NetworkSpec, facts: dict[str, Any], needed: Sequence[str] = ("num_classes",)
) -> tuple[nn.Module, set[str]]:
    """Build a network from its specification and the facts of the data that its signature asks for.

    Returns:
        The network, and the names of the facts that it was told (one not told `in_channels` takes RGB).

    Raises:
        UserError: if the class path is no torch module, or an argument is unknown or missing.
    """
    make = import_network(spec["class_path"])
    known = inspect.signature(make).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    args = dict(spec.get("init_args") or {})
    # A model file holds all weights, and starts no download.
    if current_source.get() and spec["class_path"].startswith(DOWNLOADING):
        args |= {key: value for key, value in PRETRAINED.items() if key in known or key in args}
    for key in args:
        if key not in known and not open_ended:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
            raise UserError(f"{spec['class_path']} takes no argument {key!r}; {hint}")
    if absent := [name for name in needed if name not in known and not (open_ended and name == "num_classes")]:
        raise UserError(
            f"expected a network with an argument {absent[0]}; {spec['class_path']} has none; wrap it in a class that has"
        )
    asked = {key: value for key, value in facts.items() if key in known or (key == "num_classes" and open_ended)}
    try:
        return make(**{**args, **asked}), set(asked)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{spec['class_path']} could not be built: {error}; see `network` in configs/train.yaml"
        ) from error


def import_network(class_path: str) -> Callable[..., nn.Module]:
    """Import a torch module's class, or a function annotated to return one; nothing else may be called by a checkpoint's word.

    Raises:
        UserError: if the path leads to anything else, or only a file that is not trusted names it.
    """
    check_network_class(class_path)
    try:
        found = import_path(class_path)
    except ImportError as error:
        raise UserError(
            f"expected the path of a network class; {class_path!r} cannot be imported ({error}); check class_path"
        ) from error
    made = found if inspect.isclass(found) else getattr(found, "__annotations__", {}).get("return")
    if not (inspect.isclass(made) and issubclass(made, nn.Module)):
        raise UserError(f"expected a torch.nn.Module, or a function annotated to return one; {class_path!r} is neither")
    return found
