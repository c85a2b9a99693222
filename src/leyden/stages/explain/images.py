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
from leyden.stages.explain.faithfulness import deletion_insertion_auc, rank_similarity
from leyden.stages.explain.methods import COMPLETE, UNSIGNED, attribute, describe_layer, seeded
from leyden.stages.explain.methods.gradients import completeness_error
from leyden.stages.explain.network import ExplainedNetwork

NUM_PERTURBATIONS = 10  # per image, for the infidelity
NUM_SENSITIVITY_EXAMPLES, NUM_NEIGHBOURS = 16, 4  # each image is explained once more per neighbour


@dataclass(frozen=True)
class ImageExplainer:
    """Explain images (N, C, H, W) by their pixels; a deleted pixel becomes 0, the training set's mean colour."""

    network: ExplainedNetwork
    num_steps: int
    seed: int

    def map_shape(self, batch: Batch) -> tuple[int, ...]:
        return (len(batch.targets), *batch.inputs[0].shape[2:])

    def attribute(self, method: str, batch: Batch) -> Tensor:
        return attribute(method, self.network, batch.inputs[0], batch.targets, batch.reference, self.seed)

    def deletion_insertion_auc(self, batch: Batch, maps: Tensor) -> tuple[Tensor, Tensor]:
        order = self.network.reader.importance(maps).flatten(1).argsort(dim=1, descending=True).argsort(dim=1)
        return deletion_insertion_auc(
            lambda hidden: self.network.respond(
                batch.inputs[0].masked_fill(hidden.view_as(maps)[:, None], 0), batch.reference
            ),
            order,
            torch.tensor([order.shape[1]], dtype=torch.float64),
            batch.targets,
            self.num_steps,
        )

    def similarity(self, batch: Batch, maps: Tensor, other_maps: Tensor) -> float:
        return rank_similarity(maps, other_maps)

    def extra_metrics(self, method: str, batch: Batch, maps: Tensor) -> dict[str, float]:
        """Compute `infidelity`, `sensitivity_max`, and `completeness_error` of methods that promise completeness."""
        (images,) = batch.inputs
        explained = batch.targets, batch.reference
        metrics = {
            "infidelity": measure_infidelity(self.network, images, maps, *explained, self.seed),
            "sensitivity_max": measure_sensitivity(method, self.network, images, *explained, self.seed),
            "sensitivity_examples": min(NUM_SENSITIVITY_EXAMPLES, len(images)),
        }
        if method in COMPLETE:
            metrics["completeness_error"] = completeness_error(self.network, images, maps, *explained)
        return metrics

    def describe_layer(self, method: str) -> str:
        return describe_layer(method, self.network)

    def arrays(self, batch: Batch) -> dict[str, np.ndarray]:
        return {"images": batch.examples}

    def draw(self, path: Path, batch: Batch, row: int, values: np.ndarray | None = None, method: str = "") -> None:
        if values is None:
            draw_image(path, batch.examples[row])
        else:
            draw_map(path, batch.examples[row], values, None if method in UNSIGNED else self.network.reader.evidence)


def measure_infidelity(
    network: ExplainedNetwork, inputs: Tensor, maps: Tensor, targets: Tensor, reference: Tensor, seed: int
) -> float:
    """Measure how badly maps predict the change of what they explain when random squares are blanked.

    The side of a square is a quarter of the image's.

    Each map is scaled optimally first, since gradients have no unit. The result is the fraction of the changes that the
    map does not predict: 0 for a perfect map, 1 for a map of zeros.

    Source: Yeh et al., "On the (in)fidelity and sensitivity of explanations", 2019, section 2.2.
    """

    def blank(images: Tensor) -> tuple[Tensor, Tensor]:
        squares = random_squares(images)
        return squares.float(), images * ~squares

    def total_infidelity(images: Tensor, labels: Tensor, fixed: Tensor, values: Tensor, normalize: bool) -> Tensor:
        with seeded(seed):
            return infidelity(
                network, blank, images, values, None, fixed, labels, NUM_PERTURBATIONS, len(images), normalize
            ).sum()

    per_channel = (maps[:, None] / inputs.shape[1]).expand_as(inputs)
    unexplained, total = torch.zeros(()), torch.zeros(())
    tensors = (inputs, targets, reference, per_channel)
    for images, labels, fixed, values in zip(*(each.split(network.batch_size) for each in tensors), strict=True):
        unexplained += total_infidelity(images, labels, fixed, values, True)
        total += total_infidelity(images, labels, fixed, torch.zeros_like(images), False)
    return float(unexplained / total.clamp(min=1e-12))


def random_squares(images: Tensor) -> Tensor:
    """Draw a random square in each of images (N, C, H, W): bool of the same shape, true inside."""
    inside = []
    for axis in (2, 3):
        side = images.shape[axis]
        length = max(1, round(side / 4))
        offsets = torch.arange(side) - torch.randint(side - length + 1, (len(images), 1))
        inside.append((offsets >= 0) & (offsets < length))
    return (inside[0][:, None, :, None] & inside[1][:, None, None, :]).expand_as(images)


def measure_sensitivity(
    method: str, network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor, seed: int
) -> float:
    """Measure how far maps move, relative to their norm, under noise of at most 0.02 on images of standard deviation 1.

    Source: Yeh et al., 2019, section 3, by sampling.
    """

    def explain(
        images: tuple[Tensor, ...] | Tensor, target: Tensor, additional_forward_args: tuple[Tensor]
    ) -> tuple[Tensor]:
        # Captum would treat a bare tensor as a tuple.
        images = images[0] if isinstance(images, tuple) else images
        return (attribute(method, network, images, target, *additional_forward_args, seed),)

    first = slice(0, NUM_SENSITIVITY_EXAMPLES)
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        distances = sensitivity_max(
            explain,
            inputs[first],
            n_perturb_samples=NUM_NEIGHBOURS,
            target=targets[first],
            additional_forward_args=(reference[first],),
        )
    return float(distances.mean())
