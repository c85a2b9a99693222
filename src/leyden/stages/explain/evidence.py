"""Is a map about the model, and does it find the pixels that matter? Measured against chance."""

import torch
from torch import Tensor, nn


@torch.inference_mode()
def auc_of(network: nn.Module, inputs: Tensor, maps: Tensor, targets: Tensor, num_steps: int, seed: int) -> dict[str, float]:
    """Delete and insert pixels in the order of the maps, and of random maps, and follow the target's probability.

    Args:
        network: Maps preprocessed inputs to logits.
        inputs: (N, C, H, W), preprocessed; a deleted pixel becomes 0, the mean colour.
        maps: (N, H, W); the highest value goes first.
        targets: (N,) class indices.
        num_steps: Steps of each curve.
        seed: Of the random maps.

    Returns:
        Areas under the mean curves, in [0, 1]: a low `deletion_auc` and a high `insertion_auc` are good, each beside its random baseline.

    Source: Petsiuk et al., "RISE", 2018, section 4.
    """
    random_maps = torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed))
    found = {}
    for prefix, ranked in (("", maps), ("random_", random_maps)):
        order = ranked.flatten(1).argsort(dim=1, descending=True).argsort(dim=1)  # the rank of each pixel
        shares = torch.linspace(0, 1, num_steps + 1)
        deletion, insertion = [], []
        for share in shares.tolist():
            gone = (order < round(share * order.shape[1])).view(len(inputs), 1, *maps.shape[1:])
            deletion.append(probability(network, inputs.masked_fill(gone, 0), targets))
            insertion.append(probability(network, inputs.masked_fill(~gone, 0), targets))
        found[f"{prefix}deletion_auc"] = float(torch.trapezoid(torch.tensor(deletion), shares))
        found[f"{prefix}insertion_auc"] = float(torch.trapezoid(torch.tensor(insertion), shares))
    return found


def probability(network: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Give the mean probability of the targets."""
    return float(network(inputs).softmax(1).gather(1, targets[:, None]).mean())


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
