"""torchvision's networks, fitted to the images and labels at hand, with pretrained weights from a local file."""

import copy
import difflib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision import models

from leyden.errors import UserError
from leyden.models.checkpoint import check_weights
from leyden.trust.archives import check_archive

SMALL_SIDE = 64  # below it, torchvision's stems (a quarter of the resolution and less) leave nothing to look at
STEM_POOLS = ("maxpool", "features.pool0")  # of the ResNets and ShuffleNets, of the DenseNets


class TorchvisionNet(nn.Module):
    """A network of torchvision by name: its stem fits the image size and the channels, its head the labels.

    Below 64 pixels the first convolution keeps the resolution (7x7 with stride 2 becomes 3x3 with stride 1) and no pool follows it.
    Patches of transformers and ConvNeXts stay as they are. Activations are never in place, nor shared inside a residual block.
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
        """Build the network with random weights; `load_pretrained` reads the file, when a training starts.

        Args:
            in_channels: Channels of the images.
            num_classes: Number of logits.
            image_size: Height and width of the images in pixels.
            name: As in torchvision.models: resnet18, mobilenet_v3_small, efficientnet_b0, convnext_tiny, vit_b_16.
            weights: File of a state dict (.pth, .pt or .safetensors) of that network, with any number of classes.
            options: Further arguments of torchvision's function, such as dropout.

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
        separate_activations(self.body)
        check_size(self.body, name, in_channels, image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K)."""
        return self.body(images)

    def load_pretrained(self) -> None:
        """Take the weights of the file, all but a head of other labels and a first convolution of another kernel; say which.

        Raises:
            UserError: if the file is missing, unreadable, or of another network.
        """
        if self.weights is None:
            return
        from lightning.pytorch.utilities.rank_zero import rank_zero_info

        found = adapt_weights(self.body, read_weights(Path(self.weights)))
        own = self.body.state_dict()
        free = head_keys(self.body) | {f"{first_convolution(self.body)[0]}.weight"}
        fitting = {
            key: value
            for key, value in found.items()
            if key not in free or (key in own and own[key].shape == value.shape)
        }
        try:
            missing, unexpected = self.body.load_state_dict(fitting, strict=False)
        except RuntimeError as error:
            shape = str(error).splitlines()[1].strip()
            raise UserError(
                f"expected weights of {self.name}; {self.weights} does not fit ({shape}); name their network"
            ) from error
        if wrong := [f"lacks {key}" for key in missing if key not in free] + [f"also has {key}" for key in unexpected]:
            raise UserError(
                f"expected weights of {self.name}; {self.weights} {wrong[0]} ({len(wrong)} such keys); name their network"
            )
        kept = f"all but {', '.join(missing)}" if missing else "all of them"
        rank_zero_info(f"fit: {self.name} starts from {self.weights}: {kept}")


def build_body(name: str, num_classes: int, image_size: tuple[int, int], options: dict[str, Any]) -> nn.Module:
    """Build torchvision's network.

    Raises:
        UserError: if there is none of that name, or a vision transformer cannot cut the images into its patches.
    """
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UserError(
            f"expected the name of a torchvision network{f' such as {near[0]}' if near else ''}; got {name!r}; see torchvision.models"
        )
    if name.startswith("vit_"):
        height, width = image_size
        patch = int(name.rpartition("_")[2])
        if height != width or height % patch:
            raise UserError(
                f"expected square images of a multiple of {patch} pixels for {name}; got {height}x{width}; set image_size in prepare.yaml"
            )
        options = {"image_size": height, **options}
    return models.get_model(name, weights=None, num_classes=num_classes, **options)


def first_convolution(body: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, layer) for name, layer in body.named_modules() if isinstance(layer, nn.Conv2d))


def head_keys(body: nn.Module) -> set[str]:
    """Name the weights of the layer that gives the logits: the last linear one, or the last convolution (SqueezeNet)."""
    name = [name for name, layer in body.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    return {f"{name}.weight", f"{name}.bias"}


def fit_stem(body: nn.Module, in_channels: int, image_size: tuple[int, int]) -> None:
    """Replace the first convolution by one for these channels and this size."""
    name, old = first_convolution(body)
    coarse = min(image_size) >= SMALL_SIDE or old.kernel_size == old.stride  # large images, or patches
    shape: dict[str, Any] = {name: getattr(old, name) for name in ("kernel_size", "stride", "padding")}
    if not coarse:
        shape = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1)}
        for pool in STEM_POOLS:
            replace(body, pool, nn.Identity())
    if in_channels != old.in_channels or not coarse:
        new = nn.Conv2d(in_channels, old.out_channels, bias=old.bias is not None, **shape)
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        replace(body, name, new)


def replace(body: nn.Module, path: str, layer: nn.Module) -> None:
    """Put a layer where there is one at that path."""
    parent, _, name = path.rpartition(".")
    if any(path == other for other, _ in body.named_modules()):
        setattr(body.get_submodule(parent), name, layer)


def separate_activations(body: nn.Module) -> None:
    """Give each call of a ResNet block's one ReLU a module of its own: attribution methods hook modules."""
    blocks = [
        name
        for name, layer in body.named_modules()
        if isinstance(layer, models.resnet.BasicBlock | models.resnet.Bottleneck)
    ]
    for name in blocks:
        block = fx.symbolic_trace(body.get_submodule(name))
        calls = [node for node in block.graph.nodes if node.op == "call_module" and node.target == "relu"]
        for number, node in enumerate(calls[1:], start=2):
            node.target = f"relu{number}"
            block.add_submodule(node.target, nn.ReLU())
        block.recompile()
        replace(body, name, block)


def check_size(body: nn.Module, name: str, in_channels: int, image_size: tuple[int, int]) -> None:
    """Let shapes alone pass through a copy without memory.

    Raises:
        UserError: if the network shrinks the images to nothing.
    """
    shapes = copy.deepcopy(body).to("meta").eval()
    try:
        shapes(torch.empty(1, in_channels, *image_size, device="meta"))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:100]
        raise UserError(
            f"expected larger images for {name}; got {image_size[0]}x{image_size[1]} ({reason}); take another network"
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running code from it.

    Raises:
        UserError: if the file is missing, damaged, is none, or asks to run code.
    """
    if not path.is_file():
        raise UserError(
            f"expected pretrained weights at {path}, which is not there; correct network.init_args.weights, or set it to null"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            if zipfile.is_zipfile(path):  # torch's format before 2020 is none
                check_archive(path)
            found = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"expected safetensors to read {path}; it is not installed; run `make`, or install leyden[train]"
        ) from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"refused {path}: it asks to run code when loaded, or is damaged; save a plain state dict"
        ) from error
    except Exception as error:  # bytes that are no weights make both libraries raise nearly anything
        raise UserError(
            f"expected pretrained weights; {path} cannot be read ({' '.join(str(error).split())[:80]}); fetch it anew"
        ) from error
    if isinstance(found, Mapping) and isinstance(
        found.get("model"), Mapping
    ):  # as torchvision's own training script saves
        found = found["model"]
    if not (isinstance(found, Mapping) and found and all(isinstance(value, Tensor) for value in found.values())):
        raise UserError(
            f"expected a state dict (names and tensors) in {path}; it holds something else; save model.state_dict()"
        )
    check_weights(found, path)
    return dict(found)


def adapt_weights(body: nn.Module, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum the first kernel's channels for grey images, and resize a vision transformer's position embeddings.

    The sum gives grey images what the pretrained network gives for them repeated in red, green and blue.
    """
    key = f"{first_convolution(body)[0]}.weight"
    own = body.state_dict()[key].shape[1]
    if key in found and found[key].ndim == 4 and own == 1 < found[key].shape[1]:
        found[key] = found[key].sum(dim=1, keepdim=True)
    if isinstance(body, models.VisionTransformer) and "encoder.pos_embedding" in found:
        found = dict(models.vision_transformer.interpolate_embeddings(body.image_size, body.patch_size, found))
    return found
