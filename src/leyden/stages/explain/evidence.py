"""Is a map about the model, and does it find the pixels that matter? Measured against chance, image by image."""

import time
import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor

from leyden.stages.explain.methods import COMPLETE, attribute, seeded
from leyden.stages.explain.methods.gradients import completeness_error
from leyden.stages.explain.network import ExplainedNetwork
from leyden.statistics.bootstrap import percentile_interval, resample_sums

NUM_RESAMPLES, CONFIDENCE_LEVEL = 2000, 0.95
NUM_PERTURBED = 10  # per image, for the infidelity
NUM_SENSITIVITY_EXAMPLES, NUM_NEIGHBOURS = 16, 4  # each image is explained so often again


@dataclass(frozen=True)
class Evidence:
    """What each method is measured on.

    Args:
        network: The network that is explained.
        randomised: One that forgot what it learned.
        inputs: Test images (N, C, H, W), preprocessed; a deleted pixel becomes 0, the mean colour.
        targets: The labels (N,) that the model gave them.
        num_steps: Steps of the deletion and insertion curves.
        seed: Of random maps, noise and methods that draw.
    """

    network: ExplainedNetwork
    randomised: ExplainedNetwork
    inputs: Tensor
    targets: Tensor
    num_steps: int
    seed: int

    @cached_property
    def chance(self) -> tuple[Tensor, Tensor]:
        """Areas of random maps, the same for every method."""
        generator = torch.Generator().manual_seed(self.seed)
        return self.areas(torch.rand(len(self.inputs), *self.inputs.shape[2:], generator=generator))

    def areas(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return areas_of(self.network, self.inputs, maps, self.targets, self.num_steps)


def measure(name: str, evidence: Evidence) -> dict[str, float]:
    """Measure a method against random maps, on a model that forgot what it learned, and by Captum's metrics.

    Returns:
        Low `deletion_auc` and high `insertion_auc` are good, each beside a random map's. `gain` is by how much they are better
        than those, their mean, with a bootstrap interval over the images. `randomisation_similarity` near 1 says that the map is not
        about what the model learned. `infidelity` is the share of the logit's changes, when squares are blanked, that the map does
        not tell, in [0, 1] for a map that is scaled at best. `sensitivity_max` is how far a map moves when its image hardly does.

    Raises:
        Refused: if the method says nothing true about this network.
    """
    network, inputs, targets, seed = evidence.network, evidence.inputs, evidence.targets, evidence.seed
    started = time.perf_counter()
    maps = attribute(name, network, inputs, targets, seed)
    seconds = (time.perf_counter() - started) / len(inputs)
    (deletion, insertion), (random_deletion, random_insertion) = evidence.areas(maps), evidence.chance
    gains = ((random_deletion - deletion) + (insertion - random_insertion)) / 2
    low, high = percentile_interval(
        resample_sums(gains[:, None].numpy(), NUM_RESAMPLES, seed)[:, 0] / len(gains), CONFIDENCE_LEVEL
    )
    figures = {
        "deletion_auc": float(deletion.mean()),
        "insertion_auc": float(insertion.mean()),
        "random_deletion_auc": float(random_deletion.mean()),
        "random_insertion_auc": float(random_insertion.mean()),
        **{"gain": float(gains.mean()), "gain_low": low, "gain_high": high},
        "randomisation_similarity": rank_similarity(maps, attribute(name, evidence.randomised, inputs, targets, seed)),
        "infidelity": infidelity_of(network, inputs, maps, targets, seed),
        "sensitivity_max": sensitivity_of(name, evidence),
        "seconds_per_image": seconds,
        "examples": len(inputs),
        "sensitivity_examples": min(NUM_SENSITIVITY_EXAMPLES, len(inputs)),
    }
    return figures | (
        {"completeness_error": completeness_error(network, inputs, maps, targets)} if name in COMPLETE else {}
    )


def areas_of(
    network: ExplainedNetwork, inputs: Tensor, maps: Tensor, targets: Tensor, num_steps: int
) -> tuple[Tensor, Tensor]:
    """Delete and insert pixels in the order of maps (N, H, W), the highest first, and follow each target's probability.

    Returns:
        Areas under the two curves, (N,) in [0, 1].

    Source: Petsiuk et al., "RISE", 2018, section 4.
    """
    order = maps.flatten(1).argsort(dim=1, descending=True).argsort(dim=1)  # the rank of each pixel
    shares = torch.linspace(0, 1, num_steps + 1)
    deletion, insertion = [], []
    for share in shares.tolist():
        gone = (order < round(share * order.shape[1])).view(len(inputs), 1, *maps.shape[1:])
        deletion.append(probabilities(network, inputs.masked_fill(gone, 0), targets))
        insertion.append(probabilities(network, inputs.masked_fill(~gone, 0), targets))
    return torch.trapezoid(torch.stack(deletion, 1), shares), torch.trapezoid(torch.stack(insertion, 1), shares)


def probabilities(network: ExplainedNetwork, inputs: Tensor, targets: Tensor) -> Tensor:
    """Give the probabilities (N,) of the targets."""
    return network.predict(inputs).softmax(1).gather(1, targets[:, None])[:, 0]


def infidelity_of(network: ExplainedNetwork, inputs: Tensor, maps: Tensor, targets: Tensor, seed: int) -> float:
    """Blank random squares of a quarter of the side: how much of what the logits lose do the sums of the maps there not tell?

    Each map is scaled at best, since gradients know no unit, and the figure is a share of what a map of zeros leaves untold.

    Source: Yeh et al., "On the (in)fidelity and sensitivity of explanations", 2019, section 2.2.
    """

    def blank(images: Tensor) -> tuple[Tensor, Tensor]:
        squares = random_squares(images)
        return squares.float(), images * ~squares

    spread = (maps[:, None] / inputs.shape[1]).expand_as(inputs)
    untold, total = torch.zeros(()), torch.zeros(())
    for start in range(0, len(inputs), network.batch_size):
        batch = slice(start, start + network.batch_size)
        size = len(inputs[batch])
        with seeded(seed):
            untold += infidelity(
                network, blank, inputs[batch], spread[batch], None, None, targets[batch], NUM_PERTURBED, size, True
            ).sum()
        with seeded(seed):
            zeros = torch.zeros_like(inputs[batch])
            total += infidelity(
                network, blank, inputs[batch], zeros, None, None, targets[batch], NUM_PERTURBED, size
            ).sum()
    return float(untold / total.clamp(min=1e-12))


def random_squares(images: Tensor) -> Tensor:
    """Draw a square in each of images (N, C, H, W): bool of the same shape."""
    inside = []
    for axis in (2, 3):
        side = images.shape[axis]
        length = max(1, round(side / 4))
        start = torch.randint(side - length + 1, (len(images), 1))
        places = torch.arange(side)[None]
        inside.append((places >= start) & (places < start + length))
    return (inside[0][:, None, :, None] & inside[1][:, None, None, :]).expand_as(images)


def sensitivity_of(name: str, evidence: Evidence) -> float:
    """Move the images by noise of at most 0.02, where pixels have deviation 1: how far do the maps move, as a share of their size?

    Source: Yeh et al., 2019, section 3, by sampling.
    """

    def explain(images: tuple[Tensor, ...] | Tensor, target: Tensor) -> tuple[Tensor]:
        inputs = images[0] if isinstance(images, tuple) else images
        return (
            attribute(name, evidence.network, inputs, target, evidence.seed),
        )  # Captum would take a bare tensor for a tuple

    few = slice(0, NUM_SENSITIVITY_EXAMPLES)
    with seeded(evidence.seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = sensitivity_max(
            explain, evidence.inputs[few], n_perturb_samples=NUM_NEIGHBOURS, target=evidence.targets[few]
        )
    return float(found.mean())


def rank_similarity(maps: Tensor, others: Tensor) -> float:
    """Give the mean absolute Spearman correlation of two sets of maps (N, H, W); a constant map correlates with nothing."""
    first, second = (ranks(m.flatten(1)) for m in (maps, others))
    covariance = (first * second).mean(1)
    deviation = first.std(1, correction=0) * second.std(1, correction=0)
    return float(torch.where(deviation > 0, covariance / deviation.clamp(min=1e-12), 0).abs().mean())


def ranks(values: Tensor) -> Tensor:
    """Give centred ranks along the last axis; a constant row has none."""
    order = values.argsort(dim=1).argsort(dim=1).float()
    order = order - order.mean(dim=1, keepdim=True)
    constant = values.max(dim=1).values == values.min(dim=1).values
    return order.masked_fill(constant[:, None], 0)
