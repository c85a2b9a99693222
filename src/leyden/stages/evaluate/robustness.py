"""Scores on degraded images: under common corruptions, and under adversarial attacks, the worst case."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from leyden.artifacts import ROBUSTNESS
from leyden.cost import announce_cost
from leyden.data.groups import read_groups
from leyden.data.packed import read_split
from leyden.errors import UserError
from leyden.models.image_model import ImageModel
from leyden.outputs.reader import OutputReader
from leyden.runtimes.load import Predictor
from leyden.stages.evaluate.attacks import ATTACKS, EPSILONS, Loss, attack, from_pixels
from leyden.stages.evaluate.results import Row
from leyden.stages.evaluate.scored_split import estimate
from leyden.stages.evaluate.settings import Settings
from leyden.statistics.joined_measures import find_measure, join_measures
from leyden.statistics.measures import AnyMeasure

MAX_EXAMPLES = 512  # drawn from the test split; at 95%, an accuracy is known to within 4.4 points
BATCH_SIZE = 32  # small, since the time of all batches is estimated after the first
MAX_RESAMPLES = 2000  # for each kind and strength


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
MOVES_PIXELS = ("rotation",)


def check_kinds(kinds: Sequence[str]) -> None:
    for kind in kinds:
        if kind not in (*CORRUPTIONS, *ATTACKS):
            raise UserError(
                f"expected evaluate.robustness to list {', '.join((*CORRUPTIONS, *ATTACKS))}; got {kind!r}; "
                "correct configs/evaluate.yaml"
            )


def find_supported(predictor: Predictor, reader: OutputReader, kinds: Sequence[str]) -> list[str]:
    """Return the kinds that a model supports, and print which are skipped."""
    reasons = {}
    for kind in kinds:
        if not hasattr(predictor, "image_size"):
            reasons[kind] = "for images only"
        elif kind in ATTACKS and not isinstance(predictor, ImageModel):
            reasons[kind] = "needs a checkpoint's gradients"
        elif kind in MOVES_PIXELS and not reader.allows_rotation:
            reasons[kind] = "would change the targets"
    for reason in dict.fromkeys(reasons.values()):
        skipped = [kind for kind in reasons if reasons[kind] == reason]
        print(f"evaluate: robustness skips {', '.join(skipped)} ({reason})")
    return [kind for kind in kinds if kind not in reasons]


def measure_robustness(
    predictor: Predictor, reader: OutputReader, data: Path, settings: Settings, loss: Loss
) -> list[Row]:
    """Measure the headline of a sample under each kind, which the model must support, at each strength.

    Args:
        predictor: The model.
        reader: Of its outputs.
        data: Output folder of `leyden prepare`.
        settings: `robustness` lists the kinds.
        loss: What attacks raise, of outputs and targets.

    Returns:
        Rows of `robustness_columns`; none without kinds.
    """
    if not settings.robustness:
        return []
    images, targets = read_split(data, "test")
    groups = read_groups(data, "test")
    strata = targets if reader.has_one_label else np.zeros(len(targets), int)
    indices = sample_examples(strata, MAX_EXAMPLES, settings.seed)
    changes = [
        (kind, strength)
        for kind in settings.robustness
        for strength in (CORRUPTIONS[kind].strengths if kind in CORRUPTIONS else EPSILONS)
    ]
    batches = np.split(indices, range(BATCH_SIZE, len(indices), BATCH_SIZE))
    parts: list[list[np.ndarray | AnyMeasure]] = [[] for _ in changes]
    for rows in announce_cost(batches, "evaluate", f"robustness on {len(indices)} images"):
        pixels = torch.from_numpy(np.array(images[rows])).permute(0, 3, 1, 2).contiguous()
        for part, change in zip(parts, changes, strict=True):
            outputs = predict_changed(predictor, *change, pixels, torch.from_numpy(targets[rows]), loss)
            # The outputs of all pixels fill the memory.
            part.append(measure_headline(reader, outputs, targets[rows]) if reader.is_dense else outputs)
    measures = [join_parts(part, reader, targets[indices]) for part in parts]
    sampled = None if groups is None else groups[indices]
    return [make_row(change, measure, settings, sampled) for change, measure in zip(changes, measures, strict=True)]


def measure_headline(reader: OutputReader, outputs: np.ndarray, targets: np.ndarray) -> AnyMeasure:
    return find_measure(reader.headline, reader.measures(outputs, targets))


def predict_changed(
    predictor: Predictor, kind: str, strength: float, pixels: Tensor, targets: Tensor, loss: Loss
) -> np.ndarray:
    """Return the outputs for images uint8 (B, C, H, W) under a corruption or an attack."""
    if kind in CORRUPTIONS:
        with torch.inference_mode():
            return predictor(CORRUPTIONS[kind].apply(pixels, strength)).float().numpy()
    assert isinstance(predictor, ImageModel)
    network = from_pixels(predictor)
    attacked = attack(network, kind, pixels / 255, targets, strength, loss)
    with torch.inference_mode():
        return network(attacked).numpy()


def join_parts(parts: Sequence[np.ndarray | AnyMeasure], reader: OutputReader, targets: np.ndarray) -> AnyMeasure:
    """Return the headline of all examples, given the outputs or measures of some at a time."""
    outputs = [part for part in parts if isinstance(part, np.ndarray)]
    if outputs:
        return measure_headline(reader, np.concatenate(outputs), targets)
    return join_measures([[part] for part in parts if not isinstance(part, np.ndarray)])[0]


def make_row(change: tuple[str, float], measure: AnyMeasure, settings: Settings, groups: np.ndarray | None) -> Row:
    num_resamples = min(settings.num_resamples, MAX_RESAMPLES)
    estimates = estimate([measure], num_resamples, settings.confidence_level, settings.seed, groups)
    value, interval = estimates[0][1:] if estimates else ("", None)
    values = (*change, value, *(interval or ("", "")), measure.num_examples)
    return dict(zip(robustness_columns(measure.name), values, strict=True))


def robustness_file(headline: str, suffix: str = ".csv") -> str:
    return ROBUSTNESS.format(headline=headline, suffix=suffix)


def robustness_columns(name: str) -> tuple[str, ...]:
    """Return the columns of a table of robustness by the measure of a name."""
    return "kind", "strength", name, f"{name}_low", f"{name}_high", "examples"


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


def mean_scores(rows: Sequence[Row], name: str) -> dict[str, float]:
    """Compute each kind's mean score over its strengths; kinds with an undefined one are left out."""
    scores = {kind: [row[name] for row in rows if row["kind"] == kind] for kind in {row["kind"]: None for row in rows}}
    return {f"{kind}_{name}": float(np.mean(values)) for kind, values in scores.items() if "" not in values}
