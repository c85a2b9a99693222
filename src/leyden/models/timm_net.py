"""timm's networks, adapted to the images and labels, with pretrained weights."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from leyden.errors import UserError, did_you_mean, one_line
from leyden.models.image_size import check_size
from leyden.models.normalization import Normalization
from leyden.models.weights_file import read_weights

DEFAULT = "DEFAULT"  # the weights that timm offers for a network


class TimmNet(nn.Module):
    """A network of timm by name, with a head for the labels.

    Activations are never in place: attribution methods hook them.
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
        """Build the network with random weights; `load_pretrained` loads others when a training starts.

        Args:
            in_channels: Channels of the images.
            num_classes: Number of logits.
            image_size: Height and width of the images in pixels.
            name: Name of a network in timm: resnet18, tf_efficientnet_lite0, vit_small_patch16_224, ...; a tag says
                which of several weights are meant, as in resnet18.a1_in1k.
            weights: Pretrained weights: a file (.pth, .pt or .safetensors) with a state dict of that network, with any
                number of classes; or DEFAULT, which timm downloads and keeps in its cache.
            options: Further arguments of the network, such as drop_rate or drop_path_rate.

        Raises:
            UserError: if timm is not installed or has no such network, or the images do not fit it.
        """
        super().__init__()
        self.name, self.weights = name, weights
        self._args = {**find_size_argument(name, image_size), "in_chans": in_channels, **(options or {})}
        self.body: nn.Module = import_timm().create_model(name, num_classes=num_classes, **self._args)
        for layer in self.body.modules():
            if hasattr(layer, "inplace"):
                layer.inplace = False
        check_size(self.body, name, in_channels, image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K)."""
        return self.body(images)

    def load_pretrained(self) -> Normalization | None:
        """Load the pretrained weights except for the head, whose weights become zero, and log how many.

        timm adapts the first convolution to the images' channels, and position embeddings to their size. From a head of
        zeros, the first losses are those of a uniform guess, and no random gradient disturbs the other weights.

        Returns:
            How their training images were normalised; None without weights.

        Raises:
            UserError: if they cannot be read or downloaded, or are of a different network.
        """
        if self.weights is None:
            return None
        from lightning.pytorch.utilities.rank_zero import rank_zero_info

        pretrained = self._download() if self.weights == DEFAULT else self._read(Path(self.weights))
        heads = find_heads(self.body)
        weights = {key: value for key, value in pretrained.state_dict().items() if not is_part_of(key, heads)}
        self.body.load_state_dict(weights, strict=False)
        for name, value in self.body.named_parameters():
            if is_part_of(name, heads):
                nn.init.zeros_(value)
        num_tensors = len(self.body.state_dict())
        rank_zero_info(
            f"fit: loaded {self.weights} into {self.name}: {len(weights)} of {num_tensors} tensors; the head "
            f"({', '.join(heads)}) starts at zero"
        )
        config: dict[str, Any] = pretrained.pretrained_cfg  # type: ignore[assignment]
        return Normalization(tuple(config["mean"]), tuple(config["std"]))

    def _download(self) -> nn.Module:
        timm = import_timm()
        if not timm.is_model_pretrained(self.name):
            raise UserError(
                f"expected a network that timm has weights for; got {self.name}; set network.init_args.weights to a "
                "file, or to null"
            )
        try:
            return timm.create_model(self.name, pretrained=True, **self._args)
        except Exception as error:  # of the network, the hub or its libraries
            raise UserError(
                f"expected to download the weights of {self.name}; got: {one_line(error, 200)}; set "
                "network.init_args.weights to a file that was downloaded elsewhere, or to null"
            ) from error

    def _read(self, path: Path) -> nn.Module:
        weights = read_weights(path)
        head = weights.get(f"{find_heads(self.body)[0]}.weight")
        num_classes = 0 if head is None else len(head)
        # Given the file's number of classes, timm checks every name.
        overlay = {"state_dict": weights, "num_classes": num_classes}
        try:
            return import_timm().create_model(
                self.name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=num_classes, **self._args
            )
        except Exception as error:  # timm adapts the weights by code of each network
            raise UserError(
                f"expected weights of {self.name}; {path} does not fit ({describe_misfit(error)}); set "
                "network.init_args.name to the network that they belong to"
            ) from error


def import_timm() -> Any:
    """Import timm.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise UserError(
            f"expected timm for leyden.models.TimmNet; it is not installed ({error}); run `make`, or install "
            "leyden[timm]"
        ) from error
    return timm


def find_size_argument(name: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """Return the argument that tells a network the images' size, if it has layers of a fixed size.

    Raises:
        UserError: if timm is not installed, or has no network of this name.
    """
    timm = import_timm()
    if not timm.is_model(name):
        names = timm.list_models()
        raise UserError(
            f"expected the name of a network in timm; got {name!r}{did_you_mean(name, names)}; see timm.list_models()"
        )
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return {"img_size": image_size} if config is not None and config.fixed_input_size else {}


def find_heads(body: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that compute logits: distilled transformers have two, and average them."""
    names = body.pretrained_cfg["classifier"]  # type: ignore[index]
    return (names,) if isinstance(names, str) else tuple(names)


def is_part_of(name: str, layers: tuple[str, ...]) -> bool:
    return name.startswith(tuple(f"{layer}." for layer in layers))


def describe_misfit(error: Exception) -> str:
    """Return the first difference that torch lists below the headline of its message, else the headline."""
    lines = str(error).splitlines() or [type(error).__name__]
    return one_line(lines[:2][-1], 200)
