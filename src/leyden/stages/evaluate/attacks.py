"""Adversarial attacks: pixels changed to raise a model's loss."""

import warnings
from collections.abc import Callable

import torch
from captum.robust import FGSM, PGD
from torch import Tensor

from leyden.models.image_model import ImageModel

ATTACKS = ("fgsm", "pgd")
EPSILONS = (0.01, 0.03, 0.1)  # largest change of a pixel, as a fraction of the range
NUM_PGD_STEPS = 10

Loss = Callable[[Tensor, Tensor], Tensor]


def from_pixels(model: ImageModel) -> Callable[[Tensor], Tensor]:
    """Return a model as a function of pixels in [0, 1], float (B, C, H, W): an attack's bounds are those of pixels."""
    return lambda pixels: model.output(model.network(model.preprocess.normalize(pixels))).float()


def attack(
    network: Callable[[Tensor], Tensor], kind: str, pixels: Tensor, targets: Tensor, epsilon: float, loss: Loss
) -> Tensor:
    """Perturb pixels in [0, 1] (B, C, H, W) by at most `epsilon` to raise the loss: FGSM in one step, PGD in several.

    Captum's defaults would make attacks look harmless: their loss expects probabilities, not logits, and they treat
    gradients below 1e-6, which a confident network has, as 0.

    Source: Goodfellow et al., "Explaining and harnessing adversarial examples", 2015, section 4 (FGSM); Madry et al.,
    "Towards deep learning models resistant to adversarial attacks", 2018, section 2.1 (PGD).
    """

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs, targets).reshape(-1)  # Captum accepts no tensor without dimensions

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Input Tensor 0 did not already require gradients")
        torch.manual_seed(0)
        if kind == "fgsm":
            fgsm = FGSM(network, losses, lower_bound=0.0, upper_bound=1.0)
            fgsm.zero_thresh = 0.0
            return fgsm.perturb(pixels, epsilon, targets).detach()
        pgd = PGD(network, losses, lower_bound=0.0, upper_bound=1.0)
        pgd.fgsm.zero_thresh = 0.0
        step_size = 2.5 * epsilon / NUM_PGD_STEPS
        return pgd.perturb(pixels, epsilon, step_size, NUM_PGD_STEPS, targets, random_start=True).detach()
