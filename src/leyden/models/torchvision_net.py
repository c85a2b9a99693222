"""torchvision's networks, adapted to the images and labels, with pretrained weights from a local file."""

from pathlib import Path
from typing import Any

from torch import Tensor, fx, nn
from torchvision import models

from leyden.errors import UserError, did_you_mean
from leyden.models.image_size import check_size
from leyden.models.normalization import IMAGENET, Normalization
from leyden.models.torchvision_segmentation import HEADS, NAMES, SegmentationNet, build_segmentation, is_segmentation
from leyden.models.torchvision_stem import find_first_convolution, fit_stem, replace_layer
from leyden.models.weights_file import read_weights

# Of batch norm's running statistics, torch's default. MobileNetV3 has 0.01 and MNASNet 0.0003, for the many steps of an
# epoch of ImageNet: on a small data set, the statistics of evaluation would still be those of much earlier weights.
MIN_MOMENTUM = 0.1


class TorchvisionNet(nn.Module):
    """A torchvision network by name, with a stem for the image size and channels, and a head for the labels.

    Below 64 pixels the first convolution keeps the resolution (7x7 with stride 2 becomes 3x3 with stride 1), and the
    pool after it is removed. Patches of transformers and ConvNeXts are unchanged. Activations are never in place, nor
    shared within a residual block.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        name: str = "resnet18",
        weights: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Build the network with random weights; `load_pretrained` reads the file when a training starts.

        Args:
            in_channels: Channels of the images.
            num_classes: Number of logits.
            image_size: Height and width of the images in pixels.
            name: A function in torchvision.models: resnet18, mobilenet_v3_small, efficientnet_b0, convnext_tiny,
                vit_b_16, ...; or in torchvision.models.segmentation: lraspp_mobilenet_v3_large, fcn_resnet50, ...
            weights: File with a state dict (.pth, .pt or .safetensors) of that network, with any number of classes.
            options: Further arguments of that function, such as dropout, or aux_loss of a segmentation network.

        Raises:
            UserError: if torchvision has no such network, or the images are too small for it.
        """
        super().__init__()
        self.name, self.weights = name, weights
        self.body = build_body(name, num_classes, image_size, options or {})
        fit_stem(self.body, in_channels, image_size)
        for layer in self.body.modules():
            if hasattr(layer, "inplace"):
                layer.inplace = False  # type: ignore[assignment]
            if isinstance(layer, nn.BatchNorm2d) and layer.momentum is not None:
                layer.momentum = max(layer.momentum, MIN_MOMENTUM)
        separate_activations(self.body)
        check_size(self.body, name, in_channels, image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K), or (B, K, H, W) of a segmentation network."""
        return self.body(images)

    def load_pretrained(self) -> Normalization | None:
        """Load the weights from the file, except for a head or first convolution of a different shape, and log which.

        Returns:
            How their training images were normalised: as all of torchvision's are; None without weights.

        Raises:
            UserError: if the file is missing, unreadable, or has weights of a different network.
        """
        if self.weights is None:
            return None
        from lightning.pytorch.utilities.rank_zero import rank_zero_info

        body = self.body.body if isinstance(self.body, SegmentationNet) else self.body
        pretrained = adapt_weights(body, read_weights(Path(self.weights)))
        own = body.state_dict()
        may_differ = find_head_keys(body) | {f"{find_first_convolution(body)[0]}.weight"}
        loaded = {
            key: value
            for key, value in pretrained.items()
            if key not in may_differ or (key in own and own[key].shape == value.shape)
        }
        expectation = f"expected weights of {self.name}; {self.weights}"
        remedy = "set network.init_args.name to the network that they belong to"
        try:
            missing, unexpected = body.load_state_dict(loaded, strict=False)
        except RuntimeError as error:
            raise UserError(f"{expectation} does not fit ({str(error).splitlines()[1].strip()}); {remedy}") from error
        if problems := [
            *(f"lacks {key}" for key in missing if key not in may_differ),
            *(f"also has {key}" for key in unexpected),
        ]:
            raise UserError(f"{expectation} {problems[0]} ({len(problems)} such keys); {remedy}")
        extent = f"all tensors except {', '.join(missing)}" if missing else "all tensors"
        rank_zero_info(f"fit: loaded {self.weights} into {self.name}: {extent}")
        return IMAGENET


def build_body(name: str, num_classes: int, image_size: tuple[int, int], options: dict[str, Any]) -> nn.Module:
    """Build a network of torchvision.

    Raises:
        UserError: if none has this name, or a vision transformer cannot divide the images into patches.
    """
    names = models.list_models(module=models) + NAMES
    if name not in names:
        raise UserError(
            f"expected the name of a torchvision network; got {name!r}{did_you_mean(name, names)}; "
            "see torchvision.models"
        )
    if name in NAMES:
        return build_segmentation(name, num_classes, options)
    if name.startswith("vit_"):
        height, width = image_size
        patch = int(name.rpartition("_")[2])
        if height != width or height % patch:
            raise UserError(
                f"expected square images with a side of a multiple of {patch} pixels for {name}; got {height}x{width}; "
                "set image_size in configs/prepare.yaml"
            )
        options = {"image_size": height, **options}
    return models.get_model(name, weights=None, num_classes=num_classes, **options)


def find_head_keys(body: nn.Module) -> set[str]:
    """Return the names of the head's weights: of the last linear layer, or convolution (in SqueezeNet).

    Segmentation networks have several heads.
    """
    names = [name for name, layer in body.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    heads = [name for name in names if name.endswith(HEADS)] if is_segmentation(body) else names[-1:]
    return {f"{name}.{kind}" for name in heads for kind in ("weight", "bias")}


def separate_activations(body: nn.Module) -> None:
    """Replace the single ReLU of ResNet blocks by a separate module for each call: attribution methods hook modules."""
    for name, layer in list(body.named_modules()):
        if not isinstance(layer, models.resnet.BasicBlock | models.resnet.Bottleneck):
            continue
        block = fx.symbolic_trace(layer)
        calls = [node for node in block.graph.nodes if node.op == "call_module" and node.target == "relu"]
        for number, node in enumerate(calls[1:], start=2):
            node.target = f"relu{number}"
            block.add_submodule(node.target, nn.ReLU())
        block.recompile()
        replace_layer(body, name, block)


def adapt_weights(body: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adapt pretrained weights to greyscale images, and a vision transformer's position embeddings to the image size.

    Weights of an auxiliary head are left out if the network has none: torchvision's segmentation weights contain them.

    The first kernel is summed over its channels: the output is then that of the pretrained network for the grey images
    repeated in red, green and blue.
    """
    key = f"{find_first_convolution(body)[0]}.weight"
    in_channels = body.state_dict()[key].shape[1]
    if key in weights and weights[key].ndim == 4 and in_channels == 1 < weights[key].shape[1]:
        weights[key] = weights[key].sum(dim=1, keepdim=True)
    if isinstance(body, models.VisionTransformer) and "encoder.pos_embedding" in weights:
        weights = dict(models.vision_transformer.interpolate_embeddings(body.image_size, body.patch_size, weights))
    if is_segmentation(body) and getattr(body, "aux_classifier", None) is None:
        weights = {name: value for name, value in weights.items() if not name.startswith("aux_classifier.")}
    return weights
