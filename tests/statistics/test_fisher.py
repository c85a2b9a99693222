"""Fisher's exact test agrees with an enumeration of all arrangements."""

import itertools
import math

import pytest

from leyden.statistics.fisher import fisher_p_value


@pytest.mark.parametrize(
    ("errors", "count", "total_errors", "total"), [(2, 4, 3, 8), (0, 3, 2, 6), (3, 3, 3, 7), (1, 5, 1, 9), (0, 5, 4, 6)]
)
def test_p_value_is_the_fraction_of_arrangements_with_at_least_as_many_errors(errors, count, total_errors, total):
    arrangements = sum(
        sum(row < total_errors for row in chosen) >= errors for chosen in itertools.combinations(range(total), count)
    )
    expected = arrangements / math.comb(total, count)
    assert fisher_p_value(errors, count, total_errors, total) == pytest.approx(expected)


def test_p_value_of_many_examples():
    # scipy.stats.hypergeom.sf(699, 50_000, 2500, 12_500)
    assert fisher_p_value(700, 12_500, 2500, 50_000) == pytest.approx(2.3957e-4, rel=1e-4)
