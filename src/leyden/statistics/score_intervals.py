"""Intervals of fractions and of losses whose variance was estimated, which also hold near 0 and 1.

There, the variance depends strongly on the true value. As Wilson's interval does, these therefore contain each true
value from which the estimate deviates no more than usual, given the variance that *this value* would have.
"""

import math

from scipy.special import stdtrit

from leyden.statistics.wilson import wilson_interval


def fraction_interval(
    estimate: float, bias: tuple[float, float], variance: float, size: float, confidence_level: float
) -> tuple[float, float]:
    """Compute the interval of an estimate in [0, 1]: Wilson's, for as many examples as have the same variance.

    Args:
        estimate: In [0, 1]; the interval contains it.
        bias: Range in which the estimate's bias lies; the interval is wide enough for each bias in it.
        variance: Of the estimate, not negative.
        size: Number of examples if the variance is 0.
        confidence_level: In (0, 1).

    Source: Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", 1998, for the number of examples.
    """
    low, high = estimate, estimate
    for centre in (estimate - bias[1], estimate - bias[0]):
        centre = min(1.0, max(0.0, centre))
        total = centre * (1 - centre) / variance if variance > 1e-12 and 0 < centre < 1 else size
        bounds = wilson_interval(centre * total, total, confidence_level)
        low, high = min(low, bounds[0]), max(high, bounds[1])
    return low, high


def loss_interval(mean: float, event_size: float, count: int, confidence_level: float) -> tuple[float, float]:
    """Compute the interval of a mean loss, positive and without an upper bound, that may come from a few large losses.

    The total is modelled as a Poisson number of events of equal size: the mean's variance is mean * event_size / count.
    Student's quantile accounts for a size that was estimated from few events.

    Args:
        mean: Of the losses, not negative.
        event_size: Variance of the losses divided by their mean, above 0.
        count: Number of losses.
        confidence_level: In (0, 1).

    Source: Rao, "Large sample tests of statistical hypotheses concerning several parameters with applications to
    problems of estimation", 1948 (score test).
    """
    t = float(stdtrit(3 + count * mean / event_size, (1 + confidence_level) / 2))
    shift = t**2 * event_size / (2 * count)
    margin = math.sqrt(t**2 * event_size * mean / count + shift**2)
    return max(0.0, mean + shift - margin), mean + shift + margin
