"""Measures of all examples are joined from those of some at a time."""

import numpy as np
import pytest

from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.joined_measures import find_measure, join_measures
from leyden.statistics.regression import median_measure
from leyden.statistics.segmentation import segmentation_measures


def test_joined_measures_are_those_of_all_examples():
    generator = np.random.default_rng(0)
    actual, predicted = generator.integers(5, 20, (2, 30, 3))
    intersection = generator.integers(0, 5, (30, 3))
    counts = (intersection, predicted, actual)
    whole = segmentation_measures(*counts, ["a", "b", "c"])
    parts = [
        segmentation_measures(*(array[rows] for array in counts), ["a", "b", "c"])
        for rows in (slice(0, 7), slice(7, 8), slice(8, 30))
    ]
    joined = join_measures(parts)
    assert bootstrap_intervals(joined, 0.9, 200) == bootstrap_intervals(whole, 0.9, 200)
    assert len({id(measure.statistics) for measure in joined}) == len({id(measure.statistics) for measure in whole})
    assert find_measure("iou/b", joined).num_examples == 30


def test_a_single_part_may_hold_any_measure():
    measure = median_measure("median", [1.0, 2.0])
    assert join_measures([[measure]]) == [measure]
    with pytest.raises(AssertionError, match="median is not a function of sums"):
        join_measures([[measure], [measure]])
