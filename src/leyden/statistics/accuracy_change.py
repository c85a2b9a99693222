"""The change of the accuracy between two models on the same examples, and whether it is more than noise."""

from typing import Any

import numpy as np

from leyden.statistics.bootstrap import paired_bootstrap
from leyden.statistics.mcnemar import mcnemar_p_value, paired_change_interval
from leyden.statistics.measures import fraction_measure


def compare_paired(
    old: np.ndarray,
    new: np.ndarray,
    confidence_level: float,
    groups: np.ndarray | None = None,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the accuracies of two models on the same examples.

    Args:
        old: Which examples the old model classifies correctly, bool (N,).
        new: Which examples the new model classifies correctly, bool (N,).
        confidence_level: Of the interval of the change, in (0, 1).
        groups: Group of each example, int (N,), two or more: interval and p-value are those of the paired bootstrap of
            whole groups. None if the examples are independent: they are Bonett and Price's, and McNemar's.
        num_resamples: Of groups.
        seed: Of the resamples.
    """
    lost, gained, total = int((old & ~new).sum()), int((new & ~old).sum()), len(old)
    if groups is None:
        low, high = paired_change_interval(lost, gained, total, confidence_level)
        p_value, extra = mcnemar_p_value(lost, gained), {}
    else:
        before, after = (fraction_measure("accuracy", correct) for correct in (old, new))
        changes = paired_bootstrap([before], [after], confidence_level, num_resamples, seed, groups)
        *_, low, high, p_value = changes["accuracy"]
        extra = {"groups": len(np.unique(groups))}
    return {
        "accuracy_old": float(old.mean()),
        "accuracy_new": float(new.mean()),
        "accuracy_change": (gained - lost) / total,
        "accuracy_change_low": low,
        "accuracy_change_high": high,
        "accuracy_change_p_value": p_value,
        "lost": lost,
        "gained": gained,
        "examples": total,
        **extra,
        "confidence_level": confidence_level,
    }
