"""Boundary F1: how well predicted outlines agree with actual ones, within a tolerance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from leyden.statistics.measures import FRACTION, FloatArray, Measure, defined_mean, divide


def boundary_counts(
    prediction: NDArray[np.integer],
    target: NDArray[np.integer],
    num_classes: int,
    tolerance_px: float,
    ignore_value: int | None = None,
) -> NDArray[np.int64]:
    """Count one image's boundary pixels by class, int64 (4, K).

    They are the predicted ones near an actual one, all predicted ones, the actual ones near a predicted one, and all
    actual ones. A boundary pixel is one of the class beside one (above, below, left or right) of another class; the
    edges of the image and of ignored regions are no boundary.

    Args:
        prediction: Class of each pixel, int (H, W).
        target: Likewise, or `ignore_value`.
        num_classes: K.
        tolerance_px: Largest distance at which boundary pixels match, in pixels.
        ignore_value: Pixels with this target are ignored; None if there are none.

    Source: Csurka et al., "What is a good evaluation measure for semantic segmentation?", 2013, section 3.
    """
    is_ignored = np.asarray(target == ignore_value)
    counts = np.zeros((4, num_classes), dtype=np.int64)
    for index in range(num_classes):
        predicted, actual = (
            np.argwhere(boundary((classes == index) & ~is_ignored, is_ignored)) for classes in (prediction, target)
        )
        counts[0::2, index] = count_near(predicted, actual, tolerance_px), count_near(actual, predicted, tolerance_px)
        counts[1::2, index] = len(predicted), len(actual)
    return counts


def count_near(pixels: NDArray[np.integer], others: NDArray[np.integer], tolerance_px: float) -> int:
    """Count the pixels (P, 2) within the tolerance of any of the others (Q, 2)."""
    if not (len(pixels) and len(others)):
        return 0
    distances, _ = KDTree(others).query(pixels, distance_upper_bound=tolerance_px + 1e-6)  # the bound is exclusive
    return int(np.isfinite(distances).sum())


def boundary(mask: NDArray[np.bool_], is_ignored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pixels of a mask (H, W) have a neighbour that is neither in the mask nor ignored."""
    return mask & ~binary_erosion(mask | is_ignored, border_value=1)


def boundary_measures(counts: ArrayLike, names: Sequence[str]) -> list[Measure]:
    """Return the mean boundary F1, and each class's, such as `boundary_f1/road`.

    Boundary pixels are summed over the images. A class without any does not enter the mean.

    Args:
        counts: `boundary_counts` of each image, int (N, 4, K).
        names: Of the K classes.
    """
    counts = np.asarray(counts, dtype=np.float64)

    def mean_f1(sums: FloatArray) -> FloatArray:
        return defined_mean(boundary_f1(np.stack(np.split(sums, 4, axis=-1), axis=-1)))

    return [
        Measure("mean_boundary_f1", counts.reshape(len(counts), -1), mean_f1, True, FRACTION),
        *(
            Measure(f"boundary_f1/{name}", counts[:, :, index].copy(), boundary_f1, True, FRACTION)
            for index, name in enumerate(names)
        ),
    ]


def boundary_f1(sums: FloatArray) -> FloatArray:
    """Return the harmonic mean of precision and recall from the sums of `boundary_counts`, (..., 4) to (...,).

    0 if only one of prediction and target has a boundary; NaN if neither has.
    """
    matched_predicted, predicted, matched_actual, actual = np.moveaxis(sums, -1, 0)
    precision, recall = divide(matched_predicted, predicted), divide(matched_actual, actual)
    f1 = np.nan_to_num(divide(2 * precision * recall, precision + recall))
    return np.where(predicted + actual > 0, f1, np.nan)
