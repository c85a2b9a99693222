"""Wilson's interval of a proportion."""

import math
from statistics import NormalDist


def wilson_interval(successes: int, total: int, confidence_level: float) -> tuple[float, float]:
    """Compute the interval of a proportion; it has a positive width even where all or none are successes.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = NormalDist().inv_cdf((1 + confidence_level) / 2)
    proportion = successes / total
    centre = proportion + z**2 / (2 * total)
    margin = z * math.sqrt(proportion * (1 - proportion) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)
