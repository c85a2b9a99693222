"""Accuracy on degraded images: under common corruptions, and under adversarial attacks, the worst case."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from captum.robust import FGSM, PGD
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from leyden.cost import announce_cost
from leyden.data.packed import read_split
from leyden.errors import UserError
from leyden.models.image_model import ImageModel
from leyden.runtimes.load import Predictor
from leyden.stages.evaluate.tables import Row
from leyden.statistics.wilson import wilson_interval

ROBUSTNESS_COLUMNS = ("kind", "strength", "accuracy", "accuracy_low", "accuracy_high", "examples")
MAX_EXAMPLES = 512  # drawn from the test split; at 95%, their accuracy is known to within 4.4 points
BATCH_SIZE = 32  # small, since the time of all batches is estimated after the first
NUM_PGD_STEPS = 10


class Corruption(NamedTuple):
    """A change of images uint8 (B, C, H, W), and its strengths, from hardly visible to hard for a person."""

    apply: Callable[[Tensor, float], Tensor]
    strengths: tuple[float, float, float]


def add_noise(images: Tensor, std: float) -> Tensor:
    """Add Gaussian noise to each pixel; its standard deviation is a fraction of the range of pixels."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 255 * std * noise).round().clamp(0, 255).byte()


def blur(images: Tensor, sigma: float) -> Tensor:
    """Apply a Gaussian blur; sigma is in pixels, and is scaled up in proportion for images above 64 pixels."""
    side = min(images.shape[2:])
    sigma *= max(1.0, side / 64)
    return transforms.gaussian_blur(images, [2 * min(side - 1, round(3 * sigma)) + 1] * 2, [sigma] * 2)


def compress(images: Tensor, quality: float) -> Tensor:
    return torch.stack([transforms.jpeg(image.expand(3, -1, -1), int(quality))[: len(image)] for image in images])


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotate images by alternating signs of the angle."""
    positive, negative = (
        transforms.rotate(images, angle, transforms.InterpolationMode.BILINEAR) for angle in (degrees, -degrees)
    )
    return torch.where((torch.arange(len(images)) % 2 == 0).view(-1, 1, 1, 1), positive, negative)


# Kinds as in Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
# perturbations", 2019.
CORRUPTIONS = {
    "noise": Corruption(add_noise, (0.05, 0.1, 0.2)),
    "blur": Corruption(blur, (0.5, 1, 2)),
    "contrast": Corruption(transforms.adjust_contrast, (0.5, 0.25, 0.1)),  # the fraction of contrast that remains
    "jpeg": Corruption(compress, (50, 25, 10)),  # quality
    "rotation": Corruption(rotate, (10, 20, 40)),
}
EPSILONS = (0.01, 0.03, 0.1)  # largest change of a pixel, as a fraction of the range
ATTACKS = ("fgsm", "pgd")


def check_kinds(kinds: list[str]) -> None:
    for kind in kinds:
        if kind not in (*CORRUPTIONS, *ATTACKS):
            raise UserError(
                f"expected evaluate.robustness to list {', '.join((*CORRUPTIONS, *ATTACKS))}; got {kind!r}; "
                "correct configs/evaluate.yaml"
            )


def measure_robustness(
    predictor: Predictor, data: Path, kinds: list[str], confidence_level: float, seed: int
) -> list[Row]:
    """Measure the accuracy under each kind that this model supports, and print which are skipped."""
    supported = kinds
    if not hasattr(predictor, "image_size"):
        supported, reason = [], "for images only"
    elif not isinstance(predictor, ImageModel):
        supported, reason = [kind for kind in kinds if kind not in ATTACKS], "needs a checkpoint's gradients"
    if skipped := [kind for kind in kinds if kind not in supported]:
        print(f"evaluate: robustness skips {', '.join(skipped)} ({reason})")
    return measure_accuracies(predictor, data, supported, confidence_level, seed) if supported else []


def measure_accuracies(
    predictor: Predictor, data: Path, kinds: list[str], confidence_level: float, seed: int
) -> list[Row]:
    """Measure the accuracy on a sample under each kind at each strength: rows of ROBUSTNESS_COLUMNS."""
    images, labels = read_split(data, "test")
    indices = sample_examples(labels, MAX_EXAMPLES, seed)
    changes = [
        (kind, strength)
        for kind in kinds
        for strength in (CORRUPTIONS[kind].strengths if kind in CORRUPTIONS else EPSILONS)
    ]
    correct = np.zeros(len(changes), int)
    batches = np.split(indices, range(BATCH_SIZE, len(indices), BATCH_SIZE))
    for rows in announce_cost(batches, "evaluate", f"robustness on {len(indices)} images"):
        pixels = torch.from_numpy(np.array(images[rows])).permute(0, 3, 1, 2).contiguous()
        targets = torch.from_numpy(labels[rows])
        correct += [count_correct(predictor, *change, pixels, targets) for change in changes]
    return [
        dict(zip(ROBUSTNESS_COLUMNS, (*change, number / len(indices), *interval, len(indices)), strict=True))
        for change, number in zip(changes, correct.tolist(), strict=True)
        for interval in [wilson_interval(number, len(indices), confidence_level)]
    ]


def sample_examples(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` examples at random, of each class in proportion to its share of the labels (N,); all, if fewer.

    Returns:
        Their indices, ascending.
    """
    if len(labels) <= count:
        return np.arange(len(labels))
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return np.sort(by_class[((np.arange(count) + generator.random()) * len(labels) / count).astype(int)])


def count_correct(predictor: Predictor, kind: str, strength: float, pixels: Tensor, labels: Tensor) -> int:
    if kind in CORRUPTIONS:
        with torch.inference_mode():
            return int((predictor(CORRUPTIONS[kind].apply(pixels, strength)).argmax(dim=1) == labels).sum())
    assert isinstance(predictor, ImageModel)
    network = from_pixels(predictor)
    return int((network(attack(network, kind, pixels / 255, labels, strength)).argmax(dim=1) == labels).sum())


def from_pixels(model: ImageModel) -> Callable[[Tensor], Tensor]:
    """Return a model as a function of pixels in [0, 1], float (B, C, H, W): an attack's bounds are those of pixels."""
    return lambda pixels: model.network(model.preprocess.normalize(pixels)).float()


def attack(network: Callable[[Tensor], Tensor], kind: str, pixels: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Perturb pixels in [0, 1] (B, C, H, W) by at most `epsilon` to raise the loss: FGSM in one step, PGD in several.

    Captum's defaults would make attacks look harmless: their loss expects probabilities, not logits, and they treat
    gradients below 1e-6, which a confident network has, as 0.

    Source: Goodfellow et al., "Explaining and harnessing adversarial examples", 2015, section 4 (FGSM); Madry et al.,
    "Towards deep learning models resistant to adversarial attacks", 2018, section 2.1 (PGD).
    """
    loss = nn.CrossEntropyLoss(reduction="none")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Input Tensor 0 did not already require gradients")
        torch.manual_seed(0)
        if kind == "fgsm":
            fgsm = FGSM(network, loss, lower_bound=0.0, upper_bound=1.0)
            fgsm.zero_thresh = 0.0
            return fgsm.perturb(pixels, epsilon, labels).detach()
        pgd = PGD(network, loss, lower_bound=0.0, upper_bound=1.0)
        pgd.fgsm.zero_thresh = 0.0
        step_size = 2.5 * epsilon / NUM_PGD_STEPS
        return pgd.perturb(pixels, epsilon, step_size, NUM_PGD_STEPS, labels, random_start=True).detach()


def mean_accuracies(rows: list[Row]) -> dict[str, float]:
    """Compute each kind's mean accuracy over its strengths."""
    return {
        f"{kind}_accuracy": float(np.mean([row["accuracy"] for row in rows if row["kind"] == kind]))
        for kind in dict.fromkeys(row["kind"] for row in rows)
    }
