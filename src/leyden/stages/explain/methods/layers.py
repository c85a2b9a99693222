"""Methods that look at layers inside: the last one that still knows places, or attention."""

from typing import Any

import torch
from captum.attr import GuidedGradCam, LayerAttribution, LayerGradCam
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.stages.explain.network import ExplainedNetwork, Output, Refused

MAX_POOLS = (nn.MaxPool2d, nn.AdaptiveMaxPool2d)


def grad_cam(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Selvaraju et al., 2017, without its last ReLU: what speaks against the class stays."""
    layer = network.network.get_submodule(last_spatial(network).layer)
    coarse = LayerGradCam(network, layer).attribute(inputs, targets)
    return LayerAttribution.interpolate(coarse, tuple(inputs.shape[2:]), "bilinear")


def guided_grad_cam(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Selvaraju et al., 2017, section 3.2; guided backpropagation is of Springenberg et al., 2015."""
    layer = network.network.get_submodule(last_spatial(network).layer)
    check_rectified(network, inputs.detach())
    return GuidedGradCam(network, layer).attribute(inputs, targets, interpolate_mode="bilinear")


def attention_rollout(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Abnar and Zuidema, 2020, section 3. Where attention leads, whatever the class: half of each step is the shortcut.

    For networks with `attention_maps(images)` (B, depth, heads, T, T), `grid` and the mean of the patches as features.
    """
    original: Any = network.original
    if not hasattr(original, "attention_maps"):
        raise Refused("the network tells no attention maps; leyden.models.PatchTransformer does")
    with torch.no_grad():
        steps = original.attention_maps(inputs).mean(dim=2)
    reached = torch.full_like(
        steps[:, 0, :1], 1 / steps.shape[-1]
    )  # (B, 1, T): the mean pool reads all patches equally
    for step in reversed(steps.unbind(dim=1)):
        reached = (reached @ step + reached) / 2
    patches = reached.view(len(inputs), 1, *original.grid)
    side = original.embed.kernel_size
    maps = patches.repeat_interleave(side[0], 2).repeat_interleave(side[1], 3)
    return maps[:, :, : inputs.shape[2], : inputs.shape[3]]


def last_spatial(network: ExplainedNetwork) -> Output:
    """Find the layer before the pooling: the last with more than one place (B, C, H, W).

    Raises:
        Refused: if there is none, or the network goes on with tokens, which remember places in their own way.
    """
    outputs = network.outputs
    spatial = [
        number
        for number, output in enumerate(outputs)
        if len(output.shape) == 4 and output.shape[2] * output.shape[3] > 1
    ]
    if not spatial:
        raise Refused("no layer gives features with places (B, C, H, W) for Grad-CAM to weigh")
    if any(len(output.shape) == 3 for output in outputs[spatial[-1] :]):
        raise Refused(
            "the network goes on with tokens (B, T, F) after its last layer with places, which is too early for Grad-CAM"
        )
    return outputs[spatial[-1]]


def check_rectified(network: ExplainedNetwork, inputs: Tensor) -> None:
    """Test that a network is affine once its ReLU and max-pool modules are not: then ReLU is all that guided backpropagation must guide.

    Raises:
        Refused: if it has another non-linear part, or torch.fx could not find its ReLUs.
    """
    if not network.rewritten:
        raise Refused(
            "torch.fx cannot trace the network, so that no one knows whether each ReLU is a module of its own"
        )
    linear = [
        layer.register_forward_hook(lambda layer, given, _: given[0])
        for layer in network.modules()
        if isinstance(layer, nn.ReLU)
    ]
    pools = [layer for layer in network.modules() if isinstance(layer, MAX_POOLS)]
    linear += [
        layer.register_forward_hook(lambda layer, given, out: F.adaptive_avg_pool2d(given[0], out.shape[2:]))
        for layer in pools
    ]
    try:
        nothing, once, twice = (network.predict(inputs[:2] * factor).double() for factor in (0, 1, 2))
    finally:
        for handle in linear:
            handle.remove()
    if (twice - 2 * once + nothing).abs().max() > 1e-3 * (twice - nothing).abs().max():
        raise Refused(
            "guided backpropagation is defined for ReLU only; without its ReLUs this network is still not linear"
        )
