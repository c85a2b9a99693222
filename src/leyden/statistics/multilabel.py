"""Measures of multi-label classification: each example has any number of L labels."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leyden.statistics.measures import (
    FRACTION,
    AnyMeasure,
    FloatArray,
    Measure,
    WeightedMeasure,
    defined_mean,
    divide,
    fraction_measure,
    mean_measure,
)


def multilabel_measures(scores: ArrayLike, predicted: ArrayLike, targets: ArrayLike) -> list[AnyMeasure]:
    """Return mean average precision, macro and micro F1, exact match and Hamming loss.

    A label that no example has does not enter mean average precision; one that is never predicted either does not
    enter macro F1.

    Args:
        scores: Larger for examples that more likely have the label, (N, L).
        predicted: Which labels are predicted, bool (N, L).
        targets: Which labels each example has, bool (N, L).
    """
    predicted, targets = (np.asarray(array, dtype=bool) for array in (predicted, targets))
    statistics = label_statistics(predicted, targets)
    is_wrong = predicted != targets
    return [
        WeightedMeasure(
            "mean_average_precision",
            average_precisions(np.asarray(scores, dtype=np.float64), targets),
            defined_mean,
            np.asarray(targets.any(axis=1)),
            True,
            FRACTION,
        ),
        Measure("macro_f1", statistics, lambda sums: defined_mean(f1(by_label(sums))), True, FRACTION),
        Measure("micro_f1", statistics, lambda sums: f1(by_label(sums).sum(axis=-1)), True, FRACTION),
        fraction_measure("exact_match", ~is_wrong.any(axis=1)),
        mean_measure("hamming_loss", is_wrong.mean(axis=1), higher_is_better=False, bounds=FRACTION),
    ]


def per_label_measures(
    scores: ArrayLike, predicted: ArrayLike, targets: ArrayLike, names: Sequence[str]
) -> list[AnyMeasure]:
    """Return each label's average precision, precision, recall and F1, such as `f1/cat`; arguments as above."""
    scores = np.asarray(scores, dtype=np.float64)
    predicted, targets = (np.asarray(array, dtype=bool) for array in (predicted, targets))
    precisions = average_precisions(scores, targets)
    measures: list[AnyMeasure] = []
    for index, name in enumerate(names):
        is_predicted, is_actual = predicted[:, index], targets[:, index]
        measures += [
            WeightedMeasure(
                f"average_precision/{name}",
                precisions,
                partial(np.take, indices=index, axis=-1),
                is_actual,
                True,
                FRACTION,
            ),
            fraction_measure(f"precision/{name}", is_actual, trials=is_predicted),
            fraction_measure(f"recall/{name}", is_predicted, trials=is_actual),
            Measure(
                f"f1/{name}",
                label_statistics(is_predicted[:, None], is_actual[:, None]),
                lambda sums: f1(np.moveaxis(sums, -1, 0)),
                True,
                FRACTION,
            ),
        ]
    return measures


def label_statistics(predicted: NDArray[np.bool_], targets: NDArray[np.bool_]) -> FloatArray:
    """Return which labels are correctly predicted, predicted, and actual, (N, 3 * L)."""
    return np.concatenate([predicted & targets, predicted, targets], axis=1).astype(np.float64)


def by_label(sums: FloatArray) -> FloatArray:
    """Split sums (..., 3 * L) by what is counted, (3, ..., L), along the first axis."""
    return np.stack(np.split(sums, 3, axis=-1))


def f1(counts: FloatArray) -> FloatArray:
    """Return F1 from the numbers of correct, predicted and actual labels, (3, ...); NaN if there are none."""
    correct, predicted, actual = counts
    return divide(2 * correct, predicted + actual)


def average_precisions(scores: FloatArray, targets: NDArray[np.bool_]) -> Callable[[FloatArray], FloatArray]:
    """Return a function from the examples' weights (R, N) to the average precision of each label, (R, L).

    It is the mean of the precision at the score of each positive example, where examples of equal scores are
    retrieved together. NaN without positive examples.

    Args:
        scores: (N, L).
        targets: bool (N, L).

    Source: Zhu, "Recall, precision and average precision", 2004; without interpolation.
    """
    rankings = [rank_positives(scores[:, index], targets[:, index]) for index in range(targets.shape[1])]

    def compute(weights: FloatArray) -> FloatArray:
        weights_by_example = np.ascontiguousarray(weights.T, dtype=np.float32)  # whole numbers: their sums are exact
        return np.stack([weighted_average_precision(ranking, weights_by_example) for ranking in rankings], axis=1)

    return compute


class Ranking(NamedTuple):
    """One label's examples, highest score first, in segments that end after each score that a positive example has.

    Args:
        order: The examples down to the lowest positive one, (M,).
        starts: Where in `order` each segment starts, (segments,).
        positives: The positive examples in the same order.
        positive_starts: Where in `positives` each segment starts, (segments,).
    """

    order: NDArray[np.integer]
    starts: NDArray[np.integer]
    positives: NDArray[np.integer]
    positive_starts: NDArray[np.integer]


def rank_positives(scores: FloatArray, targets: NDArray[np.bool_]) -> Ranking:
    """Rank one label's examples by their scores (N,), given which are positive (N,)."""
    order = np.argsort(-scores, kind="stable")
    is_positive = targets[order]
    positives = order[is_positive]
    positive_starts = np.flatnonzero(np.diff(scores[positives], prepend=np.nan) != 0)
    ends = np.searchsorted(-scores[order], -scores[positives[positive_starts]], side="right")
    return Ranking(order[: ends[-1] if len(ends) else 0], np.append(0, ends[:-1]), positives, positive_starts)


def weighted_average_precision(ranking: Ranking, weights: NDArray[np.float32]) -> FloatArray:
    """Compute a label's average precision, (R,), for weights (N, R)."""
    if not len(ranking.positives):
        return np.full(weights.shape[1], np.nan)
    new_positives = np.add.reduceat(weights[ranking.positives], ranking.positive_starts, axis=0).astype(np.float64)
    retrieved = np.add.reduceat(weights[ranking.order], ranking.starts, axis=0).cumsum(axis=0, dtype=np.float64)
    num_correct = new_positives.cumsum(axis=0)
    precision = num_correct / retrieved.clip(min=1)
    return divide((new_positives * precision).sum(axis=0), num_correct[-1])
