"""Attribution methods by name; adding one is adding a function to METHODS."""

from collections.abc import Callable

import numpy as np
import torch
from captum.attr import IntegratedGradients, Occlusion, Saliency
from torch import Tensor

from leyden.errors import UserError
from leyden.models.image_model import ImageModel

NUM_STEPS = 32  # of integrated gradients
BATCH_SIZE = 64  # inputs per pass; larger working sets leave the CPU's cache and cost 1.6 to 2.4 times as much

Method = Callable[[torch.nn.Module, Tensor, Tensor], Tensor]


def integrated_gradients(network: torch.nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Sundararajan et al., 2017. The baseline is 0: the training set's mean colour."""
    return IntegratedGradients(network).attribute(inputs, target=targets, n_steps=NUM_STEPS, internal_batch_size=BATCH_SIZE)


def saliency(network: torch.nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Simonyan et al., 2014. Sizes of gradients; they say where, not for or against."""
    return Saliency(network).attribute(inputs, target=targets)


def occlusion(network: torch.nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Zeiler and Fergus, 2014. A window of a quarter of the side, moved by half of itself, is set to the mean colour."""
    window = tuple(max(1, round(side / 4)) for side in inputs.shape[2:])
    stride = tuple(max(1, side // 2) for side in window)
    channels = inputs.shape[1]
    return Occlusion(network).attribute(
        inputs, target=targets, sliding_window_shapes=(channels, *window), strides=(channels, *stride), perturbations_per_eval=4
    )


METHODS: dict[str, Method] = {"integrated_gradients": integrated_gradients, "saliency": saliency, "occlusion": occlusion}


def check_methods(names: list[str]) -> None:
    """Stop at a name that is no method.

    Raises:
        UserError: which one, and which there are.
    """
    for name in names:
        if name not in METHODS:
            raise UserError(f"expected methods among {', '.join(METHODS)}; got {name!r}; set them in configs/explain.yaml")


def attribute(name: str, module: ImageModel, images: np.ndarray, targets: Tensor) -> Tensor:
    """Attribute a model's logits for the targets (N,) to the pixels of images uint8 (N, H, W, C).

    Returns:
        float32 maps (N, H, W), summed over channels.
    """
    maps = []
    for start in range(0, len(images), BATCH_SIZE):
        batch = torch.from_numpy(np.array(images[start : start + BATCH_SIZE])).permute(0, 3, 1, 2)
        with torch.no_grad():
            inputs = module.preprocess(batch).contiguous()
        found = METHODS[name](module.network, inputs.requires_grad_(), targets[start : start + BATCH_SIZE])
        maps.append(found.detach().sum(dim=1).float())
    return torch.cat(maps)
