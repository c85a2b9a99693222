"""The area under the ROC curve: each class against all others, and the mean."""

import torch
from torch import Tensor

from leyden.statistics.jackknife import jackknife_variance

SCORES_PER_BLOCK = 2**22  # 16 MB


def mean_auroc(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """Compute the mean over the classes of the area under the ROC curve of each class's score (N, K), and its variance.

    A class's area is the mean, over its examples, of the fraction of others with a lower score. Time grows with N * K,
    memory with N.

    Source: DeLong et al., "Comparing the areas under two or more correlated receiver operating characteristic curves",
    1988, for the fractions. The change of the area when an example is left out is computed exactly.
    """
    num_examples, num_classes = scores.shape
    areas = torch.full((num_classes,), torch.nan, dtype=torch.float64)
    changes = torch.zeros(num_examples, dtype=torch.float64)  # of the sum of the areas, without each example
    block_size = max(1, SCORES_PER_BLOCK // num_examples)
    for start in range(0, num_classes, block_size):
        for index, class_scores in enumerate(scores[:, start : start + block_size].T.contiguous(), start):
            is_class = labels == index
            count, num_others = int(is_class.sum()), int((~is_class).sum())
            if not (count and num_others):
                continue
            above, below = placements(class_scores[is_class], class_scores[~is_class])
            areas[index] = above.mean()
            changes[is_class] += (areas[index] - above) / (count - 1) if count > 1 else -areas[index]
            changes[~is_class] += (areas[index] - below) / max(1, num_others - 1)
    num_areas = areas.isfinite().sum()
    is_last = labels.bincount(minlength=num_classes)[labels] == 1  # without it, its class has no area
    left_out = (areas.nansum() + changes) / (num_areas - is_last.double())
    return float(areas.nanmean()), jackknife_variance(left_out.nan_to_num().numpy())


def placements(inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fraction of `outside` below each value of `inside`, and the fraction of `inside` above each of
    `outside`; ties count half.

    Only `inside`, the smaller of the two where there are many classes, is sorted.
    """
    ordered, order = inside.sort()
    num_up_to = torch.searchsorted(ordered, outside, right=True)
    num_below = torch.searchsorted(ordered, outside)
    steps = torch.stack([ranks.bincount(minlength=len(inside) + 1) for ranks in (num_up_to, num_below)])
    above = torch.empty(len(inside), dtype=torch.float64)
    above[order] = steps.cumsum(dim=1)[:, : len(inside)].sum(dim=0).double() / (2 * len(outside))
    return above, 1 - (num_up_to + num_below).double() / (2 * len(inside))
