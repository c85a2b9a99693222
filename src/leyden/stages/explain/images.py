"""Explain a model of images: maps of pixels, and what is measured of them."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor

from leyden.stages.explain.batch import Batch
from leyden.stages.explain.drawing import draw_image, draw_map
from leyden.stages.explain.faithfulness import rank_similarity
from leyden.stages.explain.methods import COMPLETE, UNSIGNED, attribute, describe_layer, seeded
from leyden.stages.explain.methods.gradients import completeness_error
from leyden.stages.explain.network import ExplainedNetwork

NUM_PERTURBATIONS = 10  # per image, for the infidelity
NUM_SENSITIVITY_EXAMPLES, NUM_NEIGHBOURS = 16, 4  # each image is explained once more per neighbour


@dataclass(frozen=True)
class ImageExplainer:
    """Explain images (N, C, H, W) by their pixels; a deleted pixel becomes 0, the training set's mean colour."""

    network: ExplainedNetwork
    randomised: ExplainedNetwork
    num_steps: int
    seed: int

    def map_shape(self, batch: Batch) -> tuple[int, ...]:
        (images,) = batch.inputs
        return (len(images), *images.shape[2:])

    def attribute(self, method: str, batch: Batch, randomised: bool = False) -> Tensor:
        network = self.randomised if randomised else self.network
        return attribute(method, network, batch.inputs[0], batch.targets, self.seed)

    def deletion_insertion_auc(self, batch: Batch, maps: Tensor) -> tuple[Tensor, Tensor]:
        return deletion_insertion_auc(self.network, batch.inputs[0], maps, batch.targets, self.num_steps)

    def similarity(self, batch: Batch, maps: Tensor, other_maps: Tensor) -> float:
        return rank_similarity(maps, other_maps)

    def extra_metrics(self, method: str, batch: Batch, maps: Tensor) -> dict[str, float]:
        """Compute `infidelity`, `sensitivity_max`, and `completeness_error` of methods that promise completeness."""
        (images,) = batch.inputs
        metrics = {
            "infidelity": measure_infidelity(self.network, images, maps, batch.targets, self.seed),
            "sensitivity_max": measure_sensitivity(method, self.network, images, batch.targets, self.seed),
            "sensitivity_examples": min(NUM_SENSITIVITY_EXAMPLES, len(images)),
        }
        if method in COMPLETE:
            metrics["completeness_error"] = completeness_error(self.network, images, maps, batch.targets)
        return metrics

    def describe_layer(self, method: str) -> str:
        return describe_layer(method, self.network)

    def arrays(self, batch: Batch) -> dict[str, np.ndarray]:
        return {"images": batch.examples}

    def draw(self, path: Path, batch: Batch, row: int) -> None:
        draw_image(path, batch.examples[row])

    def draw_map(self, path: Path, batch: Batch, row: int, values: np.ndarray, method: str) -> None:
        draw_map(path, batch.examples[row], values, signed=method not in UNSIGNED)


def deletion_insertion_auc(
    network: ExplainedNetwork, inputs: Tensor, maps: Tensor, targets: Tensor, num_steps: int
) -> tuple[Tensor, Tensor]:
    """Delete and insert pixels in the order of maps (N, H, W); see `Explainer.deletion_insertion_auc`."""
    order = maps.flatten(1).argsort(dim=1, descending=True).argsort(dim=1)  # the rank of each pixel
    fractions = torch.linspace(0, 1, num_steps + 1)
    deletion, insertion = [], []
    for fraction in fractions.tolist():
        is_deleted = (order < round(fraction * order.shape[1])).view(len(inputs), 1, *maps.shape[1:])
        deletion.append(target_probabilities(network, inputs.masked_fill(is_deleted, 0), targets))
        insertion.append(target_probabilities(network, inputs.masked_fill(~is_deleted, 0), targets))
    return torch.trapezoid(torch.stack(deletion, 1), fractions), torch.trapezoid(torch.stack(insertion, 1), fractions)


def target_probabilities(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the probabilities (N,) of the targets."""
    return network.predict(inputs).softmax(1).gather(1, targets[:, None])[:, 0]


def measure_infidelity(network: ExplainedNetwork, inputs: Tensor, maps: Tensor, targets: Tensor, seed: int) -> float:
    """Measure how badly maps predict the change of the logits when random squares of a quarter of the side are blanked.

    Each map is scaled optimally first, since gradients have no unit. The result is the fraction of the changes that the
    map does not predict: 0 for a perfect map, 1 for a map of zeros.

    Source: Yeh et al., "On the (in)fidelity and sensitivity of explanations", 2019, section 2.2.
    """

    def blank(images: Tensor) -> tuple[Tensor, Tensor]:
        squares = random_squares(images)
        return squares.float(), images * ~squares

    def total_infidelity(batch: slice, values: Tensor, normalize: bool) -> Tensor:
        images, labels = inputs[batch], targets[batch]
        with seeded(seed):
            errors = infidelity(
                network, blank, images, values, None, None, labels, NUM_PERTURBATIONS, len(images), normalize
            )
        return errors.sum()

    per_channel = (maps[:, None] / inputs.shape[1]).expand_as(inputs)
    unexplained, total = torch.zeros(()), torch.zeros(())
    for start in range(0, len(inputs), network.batch_size):
        batch = slice(start, start + network.batch_size)
        unexplained += total_infidelity(batch, per_channel[batch], True)
        total += total_infidelity(batch, torch.zeros_like(inputs[batch]), False)
    return float(unexplained / total.clamp(min=1e-12))


def random_squares(images: Tensor) -> Tensor:
    """Draw a random square in each of images (N, C, H, W): bool of the same shape, true inside."""
    inside = []
    for axis in (2, 3):
        side = images.shape[axis]
        length = max(1, round(side / 4))
        start = torch.randint(side - length + 1, (len(images), 1))
        positions = torch.arange(side)[None]
        inside.append((positions >= start) & (positions < start + length))
    return (inside[0][:, None, :, None] & inside[1][:, None, None, :]).expand_as(images)


def measure_sensitivity(method: str, network: ExplainedNetwork, inputs: Tensor, targets: Tensor, seed: int) -> float:
    """Measure how far maps move, relative to their norm, under noise of at most 0.02 on images of standard deviation 1.

    Source: Yeh et al., 2019, section 3, by sampling.
    """

    def explain(images: tuple[Tensor, ...] | Tensor, target: Tensor) -> tuple[Tensor]:
        perturbed = images[0] if isinstance(images, tuple) else images
        # Captum would treat a bare tensor as a tuple.
        return (attribute(method, network, perturbed, target, seed),)

    first = slice(0, NUM_SENSITIVITY_EXAMPLES)
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        distances = sensitivity_max(explain, inputs[first], n_perturb_samples=NUM_NEIGHBOURS, target=targets[first])
    return float(distances.mean())
