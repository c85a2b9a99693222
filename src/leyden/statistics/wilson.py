"""How far a share that was counted may lie from the true one."""

import math
from statistics import NormalDist


def wilson_interval(right: int, total: int, confidence_level: float) -> tuple[float, float]:
    """Give the interval of a share, honest also where all or none are right.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = NormalDist().inv_cdf((1 + confidence_level) / 2)
    share = right / total
    centre, spread = share + z**2 / (2 * total), z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return max(0.0, (centre - spread) / (1 + z**2 / total)), min(1.0, (centre + spread) / (1 + z**2 / total))
