"""McNemar's exact test, and the interval of a paired change."""

import itertools

import numpy as np
import pytest

from leyden.statistics.mcnemar import mcnemar_p_value, paired_change_interval


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (3, 3), (2, 9), (9, 2), (0, 6)])
def test_p_value_is_the_fraction_of_coin_flips_that_are_at_least_as_uneven(lost, gained):
    total, smaller = lost + gained, min(lost, gained)
    uneven = sum(min(sum(flips), total - sum(flips)) <= smaller for flips in itertools.product((0, 1), repeat=total))
    assert mcnemar_p_value(lost, gained) == pytest.approx(uneven / 2**total)


def test_p_value_of_many_examples():
    # The normal approximation with continuity correction is 0.0488.
    assert mcnemar_p_value(5000, 5200) == pytest.approx(0.0487, abs=5e-4)
    assert np.isfinite(mcnemar_p_value(0, 100_000))


@pytest.mark.parametrize(("lost", "gained"), [(0.0, 0.0), (0.0, 0.1), (0.05, 0.4), (0.2, 0.25)])
@pytest.mark.parametrize("total", [40, 400])
def test_interval_of_the_change_contains_the_true_one(total, lost, gained):
    draws = np.random.default_rng(0).multinomial(total, [lost, gained, 1 - lost - gained], size=1000)
    intervals = (paired_change_interval(*draw[:2].tolist(), total, 0.95) for draw in draws)
    assert np.mean([low <= gained - lost <= high for low, high in intervals]) >= 0.93
