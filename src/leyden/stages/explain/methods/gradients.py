"""Methods that follow gradients back to the pixels. The baseline is 0: the training set's mean colour."""

import torch
from captum.attr import DeepLift, GradientShap, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor

from leyden.stages.explain.network import ExplainedNetwork, Refused

NUM_STEPS = 16  # of integrated gradients, at Gauss-Legendre's nodes: 0.996 rank correlation to 50 steps on ResNet-18
NUM_SAMPLES = 16
NOISE_FRACTION = 0.1  # of the range of the pixels; Smilkov et al. recommend 0.1 to 0.2
MAX_COMPLETENESS_ERROR = 0.02  # DeepLIFT's rules add up but for rounding


def integrated_gradients(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Sundararajan et al., 2017."""
    return IntegratedGradients(network).attribute(
        inputs, target=targets, n_steps=NUM_STEPS, internal_batch_size=network.batch_size
    )


def saliency(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Simonyan et al., 2014. Sizes of gradients."""
    return Saliency(network).attribute(inputs, target=targets)


def input_x_gradient(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Shrikumar et al., "Not just a black box", 2016."""
    return InputXGradient(network).attribute(inputs, target=targets)


def smooth_grad(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Smilkov et al., 2017. Saliency, averaged over noise on the image."""
    noise = NOISE_FRACTION * float(inputs.detach().max() - inputs.detach().min())
    tunnel = NoiseTunnel(Saliency(network))
    return tunnel.attribute(
        inputs, target=targets, nt_type="smoothgrad", nt_samples=NUM_SAMPLES, nt_samples_batch_size=1, stdevs=noise
    )


def gradient_shap(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Lundberg and Lee, 2017; Erion et al., "Expected gradients", 2021. Gradients at random points on the way from the baseline."""
    method, baseline = GradientShap(network), torch.zeros_like(inputs[:1])
    drawn = [
        method.attribute(inputs, baselines=baseline, n_samples=1, stdevs=0.05, target=targets)
        for _ in range(NUM_SAMPLES)
    ]
    return torch.stack([each.detach() for each in drawn]).mean(
        dim=0
    )  # one by one: Captum would hold all samples of all images at once


def deep_lift(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Source: Shrikumar et al., 2017, the rescale rule.

    Captum hooks the modules that it has a rule for, and takes the plain gradient of all else (GELU, functions, attention) without a
    word. Then the map does not add up to what the logit gained, which is how such networks are found out.
    """
    try:
        maps = DeepLift(network).attribute(inputs, target=targets)
    except (RuntimeError, AssertionError) as error:
        raise Refused(f"Captum's DeepLIFT does not take this network: {' '.join(str(error).split())[:200]}") from error
    if (missed := completeness_error(network, inputs, maps.detach().sum(1), targets)) > MAX_COMPLETENESS_ERROR:
        raise Refused(
            f"its maps miss what the logits gained by {missed:.0%}: the network has non-linear parts that DeepLIFT has no rule for"
        )
    return maps


def completeness_error(network: ExplainedNetwork, inputs: Tensor, maps: Tensor, targets: Tensor) -> float:
    """Tell by how much the sums of maps (N, H, W) miss what the targets' logits gained over the baseline's, as a share of it.

    Source: Sundararajan et al., 2017, proposition 1.
    """
    gained = (network.predict(inputs) - network.predict(torch.zeros_like(inputs[:1]))).gather(1, targets[:, None])[:, 0]
    return float((maps.sum(dim=(1, 2)) - gained).abs().mean() / gained.abs().mean().clamp(min=1e-12))
