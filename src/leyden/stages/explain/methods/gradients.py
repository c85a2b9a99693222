"""Methods based on the gradients at the pixels. The baseline is 0: the training set's mean colour."""

import torch
from captum.attr import DeepLift, GradientShap, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor

from leyden.errors import one_line
from leyden.stages.explain.network import ExplainedNetwork, NotApplicableError

NUM_STEPS = 16  # of integrated gradients, at Gauss-Legendre's nodes: 0.996 rank correlation to 50 steps on ResNet-18
NUM_SAMPLES = 16
NOISE_FRACTION = 0.1  # of the range of the pixels; Smilkov et al. recommend 0.1 to 0.2
MAX_COMPLETENESS_ERROR = 0.02  # DeepLIFT's rules add up to the logit's difference, apart from rounding


def integrated_gradients(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Sundararajan et al., 2017."""
    return IntegratedGradients(network).attribute(
        inputs,
        target=targets,
        additional_forward_args=reference,
        n_steps=NUM_STEPS,
        internal_batch_size=network.batch_size,
    )


def saliency(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Simonyan et al., 2014. Absolute gradients."""
    return Saliency(network).attribute(inputs, target=targets, additional_forward_args=reference)


def input_x_gradient(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Shrikumar et al., "Not just a black box", 2016."""
    return InputXGradient(network).attribute(inputs, target=targets, additional_forward_args=reference)


def smooth_grad(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Smilkov et al., 2017. Saliency, averaged over noise on the image."""
    noise = NOISE_FRACTION * float(inputs.detach().max() - inputs.detach().min())
    return NoiseTunnel(Saliency(network)).attribute(
        inputs,
        target=targets,
        additional_forward_args=reference,
        nt_type="smoothgrad",
        nt_samples=NUM_SAMPLES,
        nt_samples_batch_size=1,
        stdevs=noise,
    )


def gradient_shap(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Lundberg and Lee, 2017; Erion et al., "Expected gradients", 2021.

    Gradients at random points between the baseline and the image.
    """
    method, baseline = GradientShap(network), torch.zeros_like(inputs[:1])
    # One sample per call: Captum would keep all samples of all images in memory at once.
    samples = [
        method.attribute(
            inputs, baselines=baseline, n_samples=1, stdevs=0.05, target=targets, additional_forward_args=reference
        ).detach()
        for _ in range(NUM_SAMPLES)
    ]
    return torch.stack(samples).mean(dim=0)


def deep_lift(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Shrikumar et al., 2017, the rescale rule.

    Captum hooks the modules that it has a rule for, and silently uses the plain gradient of everything else (GELU,
    functions, attention). Such networks are detected by maps that do not add up to the output's difference.
    """
    try:
        maps = DeepLift(network).attribute(inputs, target=targets, additional_forward_args=reference)
    except (RuntimeError, AssertionError) as failure:
        raise NotApplicableError(
            f"Captum's DeepLIFT does not support this network: {one_line(failure, 200)}"
        ) from failure
    error = completeness_error(network, inputs, maps.detach().sum(1), targets, reference)
    if error > MAX_COMPLETENESS_ERROR:
        raise NotApplicableError(
            f"its maps do not add up to the change of the outputs (error {error:.0%}): "
            "the network has non-linear parts that DeepLIFT has no rule for"
        )
    return maps


def completeness_error(
    network: ExplainedNetwork, inputs: Tensor, maps: Tensor, targets: Tensor, reference: Tensor
) -> float:
    """Compare the sums of maps (N, H, W) with the targets' outputs minus the baseline's: mean error, as a fraction.

    Source: Sundararajan et al., 2017, proposition 1.
    """
    outputs, baseline_outputs = (network.predict(each, reference) for each in (inputs, torch.zeros_like(inputs)))
    differences = (outputs - baseline_outputs).gather(1, targets[:, None])[:, 0]
    return float((maps.sum(dim=(1, 2)) - differences).abs().mean() / differences.abs().mean().clamp(min=1e-12))
