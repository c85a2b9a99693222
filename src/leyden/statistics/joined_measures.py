"""Measures of all examples, from those of some at a time."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from leyden.statistics.measures import AnyMeasure, FloatArray, Measure


def join_measures(parts: Sequence[Sequence[AnyMeasure]]) -> list[AnyMeasure]:
    """Return the measures of all examples, given those of each part of them; a single part is returned as it is.

    Several parts can be joined if they are `Measure`, and what an example adds to the sums does not depend on others.
    """
    if len(parts) == 1:
        return list(parts[0])
    joined: dict[tuple[int, ...], FloatArray] = {}  # measures that share their statistics must go on sharing them
    measures: list[AnyMeasure] = []
    for same in zip(*parts, strict=True):
        arrays = [each.statistics for each in same if isinstance(each, Measure)]
        assert len(arrays) == len(same), f"{same[0].name} is not a function of sums"
        key = tuple(id(array) for array in arrays)
        if key not in joined:
            joined[key] = np.concatenate(arrays)
        measures.append(replace(same[0], statistics=joined[key]))
    return measures


def find_measure(name: str, measures: Sequence[AnyMeasure]) -> AnyMeasure:
    return next(measure for measure in measures if measure.name == name)
