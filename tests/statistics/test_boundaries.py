"""Boundary F1: pixels of known shapes, and the sums over images."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.boundaries import boundary_counts, boundary_measures


def square(left, size=4, shape=(12, 16)):
    mask = np.zeros(shape, dtype=np.int64)
    mask[3 : 3 + size, left : left + size] = 1
    return mask


def test_counts_of_a_shifted_square():
    counts = boundary_counts(square(5), square(7), num_classes=2, tolerance_px=1)
    # The outline of a square of 4 has 12 pixels. If it is shifted by 2, 3 pixels of its upper edge are on or beside the
    # other's, as many of its lower edge, and the 2 others of one vertical edge.
    assert counts[:, 1].tolist() == [8, 12, 8, 12]


@pytest.mark.parametrize("ignored_fraction", [0, 0.2])
@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3])
def test_counts_agree_with_distances_of_all_pairs(tolerance, ignored_fraction):
    prediction, target = (np.random.default_rng(seed).integers(0, 3, size=(9, 11)) for seed in (0, 1))
    is_ignored = np.random.default_rng(2).random((9, 11)) < ignored_fraction
    target[is_ignored] = 255

    def outline(mask):
        padded = np.pad(mask | is_ignored, 1, constant_values=True)
        same = [np.roll(padded, shift, axis)[1:-1, 1:-1] for shift in (-1, 1) for axis in (0, 1)]
        return np.argwhere(mask & ~is_ignored & ~np.all(same, axis=0))

    counts = boundary_counts(prediction, target, num_classes=3, tolerance_px=tolerance, ignore_value=255)
    for index in range(3):
        predicted, actual = outline(prediction == index), outline(target == index)
        near = cdist(predicted, actual) <= tolerance
        expected = [near.any(axis=1).sum(), len(predicted), near.any(axis=0).sum(), len(actual)]
        assert counts[:, index].tolist() == expected


def test_edges_of_the_image_and_of_ignored_regions_are_no_boundary():
    target = np.zeros((6, 8), dtype=np.int64)
    target[:, 4:] = 255
    assert boundary_counts(np.zeros_like(target), target, 2, 1, ignore_value=255).sum() == 0


@pytest.mark.parametrize("edge", [4, 6])
def test_ignored_pixels_are_no_boundary(edge):
    target = np.where(np.arange(8) < 4, 0, 255) * np.ones((6, 1), dtype=np.int64)
    prediction = np.where(np.arange(8) < edge, 0, 1) * np.ones((6, 1), dtype=np.int64)
    assert boundary_counts(prediction, target, 2, 1, ignore_value=255).sum() == 0


def test_boundary_f1_is_the_harmonic_mean_of_precision_and_recall_over_images():
    counts = np.zeros((3, 4, 4))
    counts[:, :, 1] = [[8, 10, 4, 8], [2, 10, 4, 8], [0, 0, 0, 0]]
    counts[:, :, 2:] = [[[0, 0], [0, 5], [0, 0], [7, 0]], np.zeros((4, 2)), np.zeros((4, 2))]
    estimates = bootstrap_intervals(boundary_measures(counts, ["ground", "car", "missed", "imagined"]), 0.95, 200)
    assert {name: estimate.value for name, estimate in estimates.items()} == {
        "mean_boundary_f1": pytest.approx((2 * 0.5 * 0.5 / 1 + 0 + 0) / 3),
        "boundary_f1/car": pytest.approx(0.5),
        "boundary_f1/missed": 0,
        "boundary_f1/imagined": 0,
    }
