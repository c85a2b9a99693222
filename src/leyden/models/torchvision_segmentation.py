"""torchvision's segmentation networks, whose output is a tensor as that of other networks is."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import segmentation

from leyden.models.torchvision_stem import fit_channels

NAMES = models.list_models(module=segmentation)
HEADS = ("classifier.4", "low_classifier", "high_classifier")  # ends of the names of layers that compute logits


class Heads(NamedTuple):
    """The logits (B, K, H, W) of both heads; in the loss, those of `aux` weigh less."""

    out: Tensor
    aux: Tensor


class SegmentationNet(nn.Module):
    """Returns logits alone: torchvision's networks return a dict, which neither the loss nor an export takes."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.has_aux = getattr(body, "aux_classifier", None) is not None

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K, H, W), in training also to those of an auxiliary head."""
        outputs = self.body(images)
        if not torch.jit.is_scripting() and self.training and self.has_aux:  # a script has one type of output
            return Heads(outputs["out"], outputs["aux"])  # type: ignore[return-value]
        return outputs["out"]


def is_segmentation(network: nn.Module) -> bool:
    return isinstance(network, segmentation.FCN | segmentation.DeepLabV3 | segmentation.LRASPP)


def build_segmentation(name: str, num_classes: int, options: dict[str, Any]) -> SegmentationNet:
    return SegmentationNet(
        models.get_model(name, weights=None, weights_backbone=None, num_classes=num_classes, **options)
    )


def adapt_segmentation(network: nn.Module, in_channels: int, init_args: dict[str, Any]) -> SegmentationNet | None:
    """Return a segmentation network of torchvision with a tensor as output; None if it is a different network.

    Args:
        network: A network for RGB images.
        in_channels: Channels of the images.
        init_args: The arguments that it was built with.
    """
    if not is_segmentation(network):
        return None
    # Pretrained networks always have an auxiliary head, but a model file rebuilds them without pretrained weights.
    if not init_args.get("aux_loss"):
        network.aux_classifier = None  # type: ignore[assignment]
    fit_channels(network, in_channels)
    return SegmentationNet(network)
