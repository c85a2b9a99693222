"""Measures of segmentation agree with scikit-learn on the pixels of all images."""

import numpy as np
import pytest
from sklearn import metrics

from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.segmentation import pixel_counts, segmentation_measures

NAMES = ("road", "car", "sky", "absent")


@pytest.fixture
def masks():
    """Predictions and targets of 12 images; no pixel is of the last class, and 255 is ignored."""
    generator = np.random.default_rng(0)
    targets = generator.choice([0, 1, 2, 255], p=[0.6, 0.1, 0.2, 0.1], size=(12, 8, 9))
    predictions = np.where(generator.random((12, 8, 9)) < 0.7, targets % 255, generator.integers(0, 3, (12, 8, 9)))
    return predictions, targets


def estimates_of(predictions, targets):
    counts = [pixel_counts(*pair, num_classes=4, ignore_value=255) for pair in zip(predictions, targets, strict=True)]
    return bootstrap_intervals(segmentation_measures(*np.stack(counts, axis=1), NAMES), 0.95, 500)


def test_measures_agree_with_scikit_learn(masks):
    is_counted = masks[1] != 255
    predicted, actual = (array[is_counted] for array in masks)
    iou, dice = (
        metric(actual, predicted, average=None, labels=range(3)) for metric in (metrics.jaccard_score, metrics.f1_score)
    )
    values = {name: estimate.value for name, estimate in estimates_of(*masks).items()}
    assert values == pytest.approx(
        {
            "mean_iou": iou.mean(),
            "mean_dice": dice.mean(),
            "pixel_accuracy": metrics.accuracy_score(actual, predicted),
            **{f"iou/{name}": iou[index] for index, name in enumerate(NAMES[:3])},
            **{f"dice/{name}": dice[index] for index, name in enumerate(NAMES[:3])},
        }
    )


def test_intervals_contain_the_values(masks):
    assert all(0 < low < value < high < 1 for value, low, high in estimates_of(*masks).values())


def test_a_class_that_is_only_predicted_has_an_iou_of_0():
    estimates = estimates_of(np.full((5, 4, 4), 3), np.zeros((5, 4, 4), dtype=int))
    assert estimates["iou/absent"].value == 0
    assert estimates["mean_iou"].value == 0


def test_all_pixels_are_counted_without_an_ignore_value():
    counts = pixel_counts(np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 1]]), num_classes=3, ignore_value=None)
    assert counts.tolist() == [[1, 2, 0], [1, 3, 0], [2, 2, 0]]
