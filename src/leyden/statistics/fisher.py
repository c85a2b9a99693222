"""Fisher's exact test: whether errors are over-represented in a subset of the examples."""

import math


def fisher_p_value(errors: int, count: int, total_errors: int, total: int) -> float:
    """Compute the one-sided p-value of Fisher's exact test.

    It is the probability of at least `errors` errors among `count` of `total` examples if `total_errors` errors were
    distributed at random.

    Source: Fisher, "Statistical Methods for Research Workers", 5th edition, 1934.
    """
    correct = total - total_errors
    log_total = log_binomial(total, count)
    return min(
        1.0,
        math.fsum(
            math.exp(log_binomial(total_errors, number) + log_binomial(correct, count - number) - log_total)
            for number in range(max(errors, count - correct), min(count, total_errors) + 1)
        ),
    )


def log_binomial(total: int, number: int) -> float:
    """Compute the logarithm of the binomial coefficient; `number` must lie in [0, total]."""
    return math.lgamma(total + 1) - math.lgamma(number + 1) - math.lgamma(total - number + 1)
