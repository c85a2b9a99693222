"""How accuracy falls as images get worse: by corruptions that happen, and by attacks, the worst that could."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from captum.robust import FGSM, PGD
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from leyden.data.packed import read_split
from leyden.errors import UserError
from leyden.models.image_model import ImageModel
from leyden.runtimes.load import Predictor
from leyden.stages.evaluate.tables import Row
from leyden.statistics.wilson import wilson_interval

COLUMNS = ("kind", "strength", "accuracy", "accuracy_low", "accuracy_high", "examples")
MAX_EXAMPLES = 1000  # evenly spread over the test split; their accuracy is known to 3% or better
NUM_STEPS = 10  # of PGD


class Corruption(NamedTuple):
    """Changes images uint8 (B, C, H, W) by a strength; several, from hardly visible to hard for a person."""

    change: Callable[[Tensor, float], Tensor]
    strengths: tuple[float, float, float]


def add_noise(images: Tensor, deviation: float) -> Tensor:
    """Add normal noise to each pixel; its deviation is a share of the range."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 255 * deviation * noise).round().clamp(0, 255).byte()


def blur(images: Tensor, deviation: float) -> Tensor:
    """Blur by a Gaussian; its deviation is in pixels, of images above 64 pixels in proportion more."""
    side = min(images.shape[2:])
    deviation *= max(1.0, side / 64)
    radius = min(side - 1, round(3 * deviation))
    return transforms.gaussian_blur(images, [2 * radius + 1] * 2, [deviation] * 2)


def compress(images: Tensor, quality: float) -> Tensor:
    return torch.stack([transforms.jpeg(image.expand(3, -1, -1), int(quality))[: len(image)] for image in images])


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotate, one image this way and the next that way."""
    one, other = (
        transforms.rotate(images, angle, transforms.InterpolationMode.BILINEAR) for angle in (degrees, -degrees)
    )
    return torch.where((torch.arange(len(images)) % 2 == 0).view(-1, 1, 1, 1), one, other)


# Kinds as in Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", 2019.
CORRUPTIONS = {
    "noise": Corruption(add_noise, (0.05, 0.1, 0.2)),
    "blur": Corruption(blur, (0.5, 1, 2)),
    "contrast": Corruption(transforms.adjust_contrast, (0.5, 0.25, 0.1)),  # what is left of it
    "jpeg": Corruption(compress, (50, 25, 10)),  # quality
    "rotation": Corruption(rotate, (10, 20, 40)),
}
EPSILONS = (0.01, 0.03, 0.1)  # largest change of a pixel, as a share of the range
ATTACKS = ("fgsm", "pgd")


def check_kinds(kinds: list[str]) -> None:
    """Stop at what is neither a corruption nor an attack.

    Raises:
        UserError: which one, and which there are.
    """
    for kind in kinds:
        if kind not in (*CORRUPTIONS, *ATTACKS):
            raise UserError(
                f"expected evaluate.robustness to list {', '.join((*CORRUPTIONS, *ATTACKS))}; got {kind!r}; correct configs/evaluate.yaml"
            )


def list_accuracies(
    predictor: Predictor, data: Path, kinds: list[str], batch_size: int, confidence_level: float
) -> list[Row]:
    """Measure the accuracy under each kind at each strength: rows of COLUMNS. Attacks need gradients, which exported files do not give."""
    images, labels = read_split(data, "test")
    rows = np.unique(np.linspace(0, len(labels) - 1, MAX_EXAMPLES).round().astype(int))
    pixels, truth = (
        torch.from_numpy(np.array(images[rows])).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(labels[rows]),
    )
    found = []
    for kind in kinds:
        for strength in CORRUPTIONS[kind].strengths if kind in CORRUPTIONS else EPSILONS:
            right = sum(
                count_right(predictor, kind, strength, *part)
                for part in zip(pixels.split(batch_size), truth.split(batch_size), strict=True)
            )
            low, high = wilson_interval(right, len(truth), confidence_level)
            figures = {
                "accuracy": right / len(truth),
                "accuracy_low": low,
                "accuracy_high": high,
                "examples": len(truth),
            }
            found.append({"kind": kind, "strength": strength} | figures)
    return found


def count_right(predictor: Predictor, kind: str, strength: float, pixels: Tensor, labels: Tensor) -> int:
    if kind in CORRUPTIONS:
        with torch.inference_mode():
            return int((predictor(CORRUPTIONS[kind].change(pixels, strength)).argmax(dim=1) == labels).sum())
    assert isinstance(predictor, ImageModel)
    network = OfPixels(predictor)
    return int((network(attack(network, kind, pixels / 255, labels, strength)).argmax(dim=1) == labels).sum())


class OfPixels(nn.Module):
    """A model that takes pixels in [0, 1], float (B, C, H, W), so that an attack's bounds are those of pixels."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.network(self.model.preprocess.normalize(pixels)).float()


def attack(network: nn.Module, kind: str, pixels: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Change pixels in [0, 1] (B, C, H, W), each by at most `epsilon`, so that the network errs; one step (fgsm) or several (pgd).

    Captum's defaults would make attacks look harmless: their loss is of probabilities, not of logits, and slopes below 1e-6, which
    a sure network has, are taken for 0.

    Source: Goodfellow et al., "Explaining and harnessing adversarial examples", 2015, section 4 (FGSM); Madry et al., "Towards deep
    learning models resistant to adversarial attacks", 2018, section 2.1 (PGD).
    """
    loss = nn.CrossEntropyLoss(reduction="none")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Input Tensor 0 did not already require gradients")
        torch.manual_seed(0)
        if kind == "fgsm":
            single = FGSM(network, loss, lower_bound=0.0, upper_bound=1.0)
            single.zero_thresh = 0.0
            return single.perturb(pixels, epsilon, labels).detach()
        repeated = PGD(network, loss, lower_bound=0.0, upper_bound=1.0)
        repeated.fgsm.zero_thresh = 0.0
        step = 2.5 * epsilon / NUM_STEPS
        return repeated.perturb(pixels, epsilon, step, NUM_STEPS, labels, random_start=True).detach()


def means(rows: list[Row]) -> dict[str, float]:
    """Give one figure for each kind: the mean accuracy over its strengths."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    return {
        f"{kind}_accuracy": float(np.mean([row["accuracy"] for row in rows if row["kind"] == kind])) for kind in kinds
    }
