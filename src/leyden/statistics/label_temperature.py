"""Temperature scaling of one label's logit: calibrates its probability on examples that it was not trained on."""

import numpy as np
from numpy.typing import ArrayLike

MAX_LOG2_TEMPERATURE = 4  # temperatures from 1/16 to 16 are tried; between them the loss is interpolated by a parabola
NUM_TEMPERATURES = 65


def label_temperature(logits: ArrayLike, targets: ArrayLike) -> float:
    """Return the temperature T in [1/16, 16] that minimises the binary cross-entropy of sigmoid(logits / T).

    Targets are smoothed as if one more example had been classified correctly and one incorrectly: without any error
    the best temperature would be 0.

    Args:
        logits: (N,).
        targets: Which examples are positive, bool (N,).

    Returns:
        The temperature; 1 without examples, or if all logits are 0.

    Source: Guo et al., "On calibration of modern neural networks", 2017, section 4.2; Platt, "Probabilistic outputs
    for support vector machines", 1999, section 2.2, for the smoothing.
    """
    logits, targets = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    smoothing = 2 / (len(logits) + 2)
    gain = logits @ ((1 - smoothing) * targets + smoothing / 2)
    exponents = np.linspace(-MAX_LOG2_TEMPERATURE, MAX_LOG2_TEMPERATURE, NUM_TEMPERATURES)
    losses = np.array([np.logaddexp(0, logits / 2**exponent).sum() - gain / 2**exponent for exponent in exponents])
    best = int(np.clip(losses.argmin(), 1, NUM_TEMPERATURES - 2))
    before, least, after = losses[best - 1 : best + 2]
    curvature = before - 2 * least + after
    if curvature <= 0:
        return 1.0
    offset = np.clip((before - after) / (2 * curvature), -1, 1)
    return float(2 ** (exponents[best] + offset * (exponents[1] - exponents[0])))
