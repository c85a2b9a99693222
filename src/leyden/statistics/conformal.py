"""Split-conformal prediction: how far around its predictions a regression's targets lie."""

import math

import numpy as np
from numpy.typing import ArrayLike

from leyden.statistics.measures import Measure, fraction_measure


def conformal_radius(residuals: ArrayLike, coverage: float) -> float | None:
    """Return the radius r such that prediction ± r contains a new target with at least the given probability.

    It is the ceil((n + 1) * coverage)-th smallest absolute residual. The guarantee holds for any model and any
    distribution, on average over validation splits, if the new examples are of the same kind.

    Args:
        residuals: Differences of targets and predictions on n examples that the model was not trained on, (n,).
        coverage: Probability, in (0, 1).

    Returns:
        The radius, in the unit of the target; None if n is less than coverage / (1 - coverage): no finite radius has
        the guarantee.

    Source: Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005; Lei et al., "Distribution-free
    predictive inference for regression", 2018, algorithm 2.
    """
    ordered = np.sort(np.abs(np.asarray(residuals, dtype=np.float64)))
    rank = math.ceil((len(ordered) + 1) * coverage - 1e-9)  # 0.9 * 10 may be a little more than 9
    return float(ordered[rank - 1]) if rank <= len(ordered) else None


def coverage_measure(name: str, residuals: ArrayLike, radius: float) -> Measure:
    """Return the fraction of examples whose target lies within the radius of the prediction, from residuals (N,)."""
    return fraction_measure(name, np.abs(np.asarray(residuals, dtype=np.float64)) <= radius)
