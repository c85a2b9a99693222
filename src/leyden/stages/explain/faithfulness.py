"""Measure whether maps find the parts of the input that matter, and depend on what the model learned."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from leyden.stages.explain.batch import Batch
from leyden.stages.explain.explainer import Explainer

CONFIDENCE_LEVEL = 0.95


@torch.inference_mode()
def deletion_insertion_auc(
    respond: Callable[[Tensor], Tensor], order: Tensor, sizes: Tensor, targets: Tensor, num_steps: int
) -> tuple[Tensor, Tensor]:
    """Delete and insert the parts of inputs in order, and follow the response of the targets (N,).

    Args:
        respond: Maps which parts are hidden, bool (N, parts), to responses (N, K) in [0, 1], such as probabilities.
        order: Rank of each part, (N, parts).
        sizes: How many parts each input has, (N,), or (1,) if all have the same number.
        targets: Labels whose response is followed.
        num_steps: Steps from no part to all.

    Returns:
        Areas under the two curves, (N,) in [0, 1].

    Source: Petsiuk et al., "RISE", 2018, section 4.
    """
    fractions = torch.linspace(0, 1, num_steps + 1)
    curves: tuple[list[Tensor], list[Tensor]] = [], []
    for fraction in fractions:
        is_deleted = order < (fraction * sizes).round()[:, None]
        for curve, is_hidden in zip(curves, (is_deleted, ~is_deleted), strict=True):
            curve.append(respond(is_hidden).gather(1, targets[:, None])[:, 0])
    deletion, insertion = (torch.trapezoid(torch.stack(curve, 1), fractions) for curve in curves)
    return deletion, insertion


def random_map_auc(explainer: Explainer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the deletion and insertion areas (N,) of random maps, the baseline of every method."""
    generator = torch.Generator().manual_seed(explainer.seed)
    return explainer.deletion_insertion_auc(batch, torch.rand(explainer.map_shape(batch), generator=generator))


def measure_method(
    method: str, explainer: Explainer, randomised: Explainer, batch: Batch, random_auc: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """Measure a method's maps of a batch against random maps (`random_map_auc`), and those of the randomised model.

    Returns:
        Low `deletion_auc` and high `insertion_auc` are good. `gain` is the mean of how far both improve on random maps,
        with an interval over the examples. A `randomisation_similarity` near 1 means that the maps do not
        depend on what the model learned. The explainer's `extra_metrics` are included.

    Raises:
        NotApplicableError: if the method's maps would not be valid for this model.
    """
    started = time.perf_counter()
    maps = explainer.attribute(method, batch)
    seconds = (time.perf_counter() - started) / len(maps)
    deletion, insertion = explainer.deletion_insertion_auc(batch, maps)
    random_deletion, random_insertion = random_auc
    gains = ((random_deletion - deletion) + (insertion - random_insertion)) / 2
    low, high = gain_interval(gains)
    return {
        "deletion_auc": float(deletion.mean()),
        "insertion_auc": float(insertion.mean()),
        "random_deletion_auc": float(random_deletion.mean()),
        "random_insertion_auc": float(random_insertion.mean()),
        "gain": float(gains.mean()),
        "gain_low": low,
        "gain_high": high,
        "randomisation_similarity": explainer.similarity(batch, maps, randomised.attribute(method, batch)),
        **explainer.extra_metrics(method, batch, maps),
        "seconds_per_image": seconds,  # the report reads this key for sequences too
        "examples": len(maps),
    }


def gain_interval(gains: Tensor) -> tuple[float, float]:
    """Compute Student's interval of the mean of gains (N,) in [-1, 1]; of a single one, it is all of that range."""
    from scipy.stats import t

    if len(gains) == 1:
        return -1.0, 1.0
    mean, deviation = float(gains.mean()), float(gains.std())
    margin = float(t.ppf((1 + CONFIDENCE_LEVEL) / 2, len(gains) - 1)) * deviation / len(gains) ** 0.5
    return max(-1.0, mean - margin), min(1.0, mean + margin)


def rank_similarity(maps: Tensor, other_maps: Tensor) -> float:
    """Return the mean absolute Spearman correlation of two sets of maps (N, ...); that of a constant map is 0."""
    first, second = (centred_ranks(each.flatten(1)) for each in (maps, other_maps))
    deviation = first.std(1, correction=0) * second.std(1, correction=0)
    return float(torch.where(deviation > 0, (first * second).mean(1) / deviation.clamp(min=1e-12), 0).abs().mean())


def centred_ranks(values: Tensor) -> Tensor:
    """Rank each row of values (N, M), minus the mean rank; all ranks of a constant row are 0."""
    ranks = values.argsort(dim=1).argsort(dim=1).float()
    is_constant = values.amax(dim=1, keepdim=True) == values.amin(dim=1, keepdim=True)
    return (ranks - ranks.mean(dim=1, keepdim=True)).masked_fill(is_constant, 0)
