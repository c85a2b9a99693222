"""Measures of segmentation, from the pixels of each class in each image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leyden.statistics.measures import FRACTION, FloatArray, Measure, defined_mean, divide


def segmentation_measures(
    intersection: ArrayLike, predicted: ArrayLike, actual: ArrayLike, names: Sequence[str]
) -> list[Measure]:
    """Return mean IoU, mean Dice and pixel accuracy, and each class's IoU and Dice, such as `iou/road`.

    Pixels are summed over the images. A class without actual and predicted pixels does not enter the means.

    Args:
        intersection: Pixels of each image that are of each class and predicted as it, int (N, K).
        predicted: Pixels predicted as each class, int (N, K); ignored pixels are not counted.
        actual: Pixels of each class, int (N, K).
        names: Of the K classes.
    """
    counts = [np.asarray(array, dtype=np.float64) for array in (intersection, predicted, actual)]
    statistics = np.concatenate(counts, axis=1)
    measures = [
        Measure("mean_iou", statistics, lambda sums: defined_mean(iou(by_kind(sums))), True, FRACTION),
        Measure("mean_dice", statistics, lambda sums: defined_mean(dice(by_kind(sums))), True, FRACTION),
        Measure("pixel_accuracy", statistics, pixel_accuracy, True, FRACTION),
    ]
    for index, name in enumerate(names):
        of_class = np.stack([array[:, index] for array in counts], axis=1)
        measures.append(Measure(f"iou/{name}", of_class, lambda sums: iou(np.moveaxis(sums, -1, 0)), True, FRACTION))
        measures.append(Measure(f"dice/{name}", of_class, lambda sums: dice(np.moveaxis(sums, -1, 0)), True, FRACTION))
    return measures


def pixel_counts(
    prediction: NDArray[np.integer], target: NDArray[np.integer], num_classes: int, ignore_value: int | None
) -> NDArray[np.int64]:
    """Count one image's pixels by class: correctly predicted, predicted, and actual ones, int64 (3, K).

    Args:
        prediction: Class of each pixel, int (H, W), below `num_classes`.
        target: Likewise, or `ignore_value`.
        num_classes: K.
        ignore_value: Pixels with this target are not counted; None if there are none.
    """
    is_counted = target != ignore_value
    prediction, target = prediction[is_counted], target[is_counted]
    counted = (target[prediction == target], prediction, target)
    return np.stack([np.bincount(classes, minlength=num_classes) for classes in counted]).astype(np.int64)


def by_kind(sums: FloatArray) -> FloatArray:
    """Split sums (..., 3 * K) by what is counted, (3, ..., K)."""
    return np.stack(np.split(sums, 3, axis=-1))


def iou(counts: FloatArray) -> FloatArray:
    """Return intersection over union from intersection, predicted and actual pixels, (3, ...)."""
    intersection, predicted, actual = counts
    return divide(intersection, predicted + actual - intersection)


def dice(counts: FloatArray) -> FloatArray:
    """Return the Dice coefficient, the F1 of pixels, from intersection, predicted and actual pixels, (3, ...)."""
    intersection, predicted, actual = counts
    return divide(2 * intersection, predicted + actual)


def pixel_accuracy(sums: FloatArray) -> FloatArray:
    intersection, _, actual = by_kind(sums).sum(axis=-1)
    return divide(intersection, actual)
