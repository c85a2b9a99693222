"""Methods that read inner layers: the last one with spatial dimensions, or attention."""

from contextlib import ExitStack
from itertools import takewhile
from typing import Any

import torch
from captum.attr import GuidedGradCam, LayerAttribution, LayerGradCam
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.models.layer_outputs import LayerOutput
from leyden.stages.explain.network import ExplainedNetwork, NotApplicableError, deepest_spatial_output


def grad_cam(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Selvaraju et al., 2017, without its last ReLU, so that evidence against the class remains."""
    layer = network.network.get_submodule(last_spatial_layer(network).layer)
    coarse = LayerGradCam(network, layer).attribute(inputs, targets, reference)
    return LayerAttribution.interpolate(coarse, tuple(inputs.shape[2:]), "bilinear")


def guided_grad_cam(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Selvaraju et al., 2017, section 3.2; guided backpropagation: Springenberg et al., 2015."""
    layer = network.network.get_submodule(last_spatial_layer(network).layer)
    check_relu_only(network, inputs.detach())
    return GuidedGradCam(network, layer).attribute(inputs, targets, reference, interpolate_mode="bilinear")


def attention_rollout(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Abnar and Zuidema, 2020, section 3. Maps do not depend on the class; half of each step is the shortcut.

    For networks with `attention_maps(images)` (B, depth, heads, T, T), `grid` and the mean of the patches as features.
    """
    original: Any = network.original
    if not hasattr(original, "attention_maps"):
        raise NotApplicableError("the network has no attention maps; leyden.models.PatchTransformer has")
    with torch.no_grad():
        attention = original.attention_maps(inputs).mean(dim=2)
    # (B, 1, T): the mean pool reads all patches equally
    rollout = torch.full_like(attention[:, 0, :1], 1 / attention.shape[-1])
    for layer in reversed(attention.unbind(dim=1)):
        rollout = (rollout @ layer + rollout) / 2
    height, width = original.embed.kernel_size
    maps = rollout.view(len(inputs), 1, *original.grid).repeat_interleave(height, 2).repeat_interleave(width, 3)
    return maps[:, :, : inputs.shape[2], : inputs.shape[3]]


def last_spatial_layer(network: ExplainedNetwork) -> LayerOutput:
    """Find the layer before the pooling, or that of the lowest resolution, with outputs (B, C, H, W).

    Raises:
        NotApplicableError: if there is none, or it continues with tokens (B, T, F).
    """
    spatial = deepest_spatial_output(network.outputs, network.reader.is_dense)
    if spatial is None:
        raise NotApplicableError("no layer has outputs with spatial dimensions (B, C, H, W), which Grad-CAM needs")
    later = takewhile(lambda output: not output.is_spatial, reversed(network.outputs))
    if any(len(output.shape) == 3 for output in later):
        raise NotApplicableError(
            "the network continues with tokens (B, T, F) after its last layer with spatial dimensions, "
            "which is too early for Grad-CAM"
        )
    return spatial


def check_relu_only(network: ExplainedNetwork, inputs: Tensor) -> None:
    """Check that a network is affine once its ReLU and max-pool modules are replaced by linear ones.

    Then ReLU is the only non-linear part that guided backpropagation must handle.

    Raises:
        NotApplicableError: if it has another non-linear part, or torch.fx could not find its ReLUs.
    """
    if not network.is_rewritten:
        raise NotApplicableError("torch.fx cannot trace the network, so its ReLUs may not all be separate modules")
    with ExitStack() as hooks:
        for layer in network.modules():
            if isinstance(layer, nn.ReLU):
                hooks.enter_context(layer.register_forward_hook(lambda _, args, __: args[0]))
            elif isinstance(layer, (nn.MaxPool2d, nn.AdaptiveMaxPool2d)):
                hooks.enter_context(
                    layer.register_forward_hook(
                        lambda _, args, output: F.adaptive_avg_pool2d(args[0], output.shape[2:])
                    )
                )
        with torch.no_grad():
            zero, once, twice = (network.network(inputs[:2] * factor).double() for factor in (0, 1, 2))
    if (twice - 2 * once + zero).abs().max() > 1e-3 * (twice - zero).abs().max():
        raise NotApplicableError(
            "guided backpropagation is defined for ReLU only; without its ReLUs this network is still not linear"
        )
