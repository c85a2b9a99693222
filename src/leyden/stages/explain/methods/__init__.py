"""Attribution methods by name; adding one is adding a function to METHODS."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from leyden.errors import UserError
from leyden.stages.explain.methods.gradients import (
    deep_lift,
    gradient_shap,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from leyden.stages.explain.methods.layers import attention_rollout, grad_cam, guided_grad_cam, last_spatial
from leyden.stages.explain.methods.perturbations import feature_ablation, kernel_shap, lime, occlusion
from leyden.stages.explain.network import ExplainedNetwork

Method = Callable[
    [ExplainedNetwork, Tensor, Tensor], Tensor
]  # inputs (B, C, H, W) and targets (B,) to maps (B, C or 1, H, W)
METHODS: dict[str, Method] = {
    method.__name__: method
    for method in (
        *(
            integrated_gradients,
            saliency,
            input_x_gradient,
            smooth_grad,
            gradient_shap,
            deep_lift,
            guided_grad_cam,
            grad_cam,
        ),
        *(occlusion, feature_ablation, kernel_shap, lime, attention_rollout),
    )
}
UNSIGNED = {"saliency", "smooth_grad", "attention_rollout"}  # they say where, not for or against
COMPLETE = {
    "integrated_gradients",
    "deep_lift",
    "gradient_shap",
}  # they promise that a map's sum is what the logit gained


def check_methods(names: list[str]) -> None:
    """Stop at a name that is no method.

    Raises:
        UserError: which one, and which there are.
    """
    for name in names:
        if name not in METHODS:
            raise UserError(
                f"expected methods among {', '.join(METHODS)}; got {name!r}; set them in configs/explain.yaml"
            )


def attribute(name: str, network: ExplainedNetwork, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
    """Attribute the logits of the targets (N,) to the pixels of preprocessed images (N, C, H, W).

    Returns:
        float32 maps (N, H, W), summed over channels.

    Raises:
        Refused: if the method says nothing true about this network.
    """
    maps, starts = [], range(0, len(inputs), network.batch_size)
    with seeded(seed), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # Captum tells of hooks and gradients that it sets; refusals are raised here
        for start in tqdm(starts, name, unit="batch", leave=False, disable=not sys.stderr.isatty()):
            batch = slice(start, start + network.batch_size)
            found = METHODS[name](network, inputs[batch].detach().clone().requires_grad_(), targets[batch])
            maps.append(found.detach().float().sum(dim=1))
    return torch.cat(maps)


def describe_layer(name: str, network: ExplainedNetwork) -> str:
    """Say which layer a method looks at, where that was a choice."""
    if METHODS[name] not in (grad_cam, guided_grad_cam):
        return ""
    layer, (_, _, height, width) = last_spatial(network)
    return f"; looks at layer {layer}, {height} x {width}"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that Captum draws from, torch's and numpy's global ones, and give them back as they were."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(state)
