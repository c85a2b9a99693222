"""Attribution methods by name; to add one, add its function to METHODS."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

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
from leyden.stages.explain.methods.layers import attention_rollout, grad_cam, guided_grad_cam, last_spatial_layer
from leyden.stages.explain.methods.perturbations import feature_ablation, kernel_shap, lime, occlusion
from leyden.stages.explain.network import ExplainedNetwork

# Maps inputs (B, C, H, W), targets (B,) and the network's second input, the reference, to maps (B, C or 1, H, W).
Method = Callable[[ExplainedNetwork, Tensor, Tensor, Tensor], Tensor]
METHODS: dict[str, Method] = {
    method.__name__: method
    for method in (
        integrated_gradients,
        saliency,
        input_x_gradient,
        smooth_grad,
        gradient_shap,
        deep_lift,
        guided_grad_cam,
        grad_cam,
        occlusion,
        feature_ablation,
        kernel_shap,
        lime,
        attention_rollout,
    )
}
# Their values are not negative: they do not show whether a pixel supports the class or opposes it.
UNSIGNED = {"saliency", "smooth_grad", "attention_rollout"}
# Their maps should add up to the target's explained output minus the baseline's.
COMPLETE = {"integrated_gradients", "deep_lift", "gradient_shap"}


def check_methods(names: list[str]) -> None:
    if not names or len(set(names)) < len(names):
        raise UserError(f"expected methods, each once; got {names}; set them in configs/explain.yaml")
    for name in names:
        if name not in METHODS:
            raise UserError(
                f"expected methods among {', '.join(METHODS)}; got {name!r}; set them in configs/explain.yaml"
            )


def attribute(
    name: str, network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor, seed: int
) -> Tensor:
    """Attribute the explained outputs of the targets (N,) to the pixels of preprocessed images (N, C, H, W).

    The reference is what stays fixed while images change (`Batch.reference`).

    Returns:
        float32 maps (N, H, W), summed over channels.

    Raises:
        NotApplicableError: if the method's maps would not be valid for this network.
    """
    tensors = inputs, targets, reference
    maps, batches = [], list(zip(*(each.split(network.batch_size) for each in tensors), strict=True))
    with seeded(seed), torch.enable_grad(), warnings.catch_warnings():
        # Captum warns about hooks and gradients that it sets; what matters is raised here as NotApplicableError.
        warnings.simplefilter("ignore", UserWarning)
        for images, labels, fixed in tqdm(batches, name, unit="batch", leave=False, disable=not sys.stderr.isatty()):
            attributions = METHODS[name](network, images.detach().clone().requires_grad_(), labels, fixed)
            maps.append(attributions.detach().float().sum(dim=1))
    return torch.cat(maps)


def describe_layer(name: str, network: ExplainedNetwork) -> str:
    """Return which layer a method reads, as a suffix; empty for methods that do not choose one."""
    if METHODS[name] not in (grad_cam, guided_grad_cam):
        return ""
    output = last_spatial_layer(network)
    return f"; reads layer {output.layer}, {output.shape[2]} x {output.shape[3]}"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that Captum draws from, the global ones of torch and numpy, and restore their state after."""
    with torch.random.fork_rng(devices=[]), ExitStack() as stack:
        stack.callback(np.random.set_state, np.random.get_state())
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        yield
