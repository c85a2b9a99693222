"""What a segmentation model's outputs mean."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, distance_transform_edt
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from torchmetrics.segmentation import DiceScore, MeanIoU

from leyden.errors import UserError
from leyden.outputs import load_reader
from tests.outputs.values import values_of

LABELS = ["ground", "cat", "dog"]
FACTS = {
    "values": [0, 7, 9],
    "palette": ["#000000", "#ff0080", "#00ff00"],
    "ignore_value": 255,
    "pixel_counts": [6, 2, 1],
}
READER = load_reader({"labels": LABELS, "task": {"name": "segmentation", **FACTS}})


def logits_of(masks: np.ndarray) -> np.ndarray:
    """Return logits that are largest for the class of each pixel."""
    return (np.arange(3)[None, :, None, None] == masks[:, None]).astype(np.float32)


@pytest.fixture(scope="module")
def examples() -> tuple[np.ndarray, np.ndarray]:
    """Logits (20, 3, 9, 11) and targets with a tenth of ignored pixels."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, (20, 9, 11)).astype(np.uint8)
    logits = (logits_of(targets) + 0.7 * generator.normal(size=(20, 3, 9, 11))).astype(np.float32)
    return logits, np.where(generator.random(targets.shape) < 0.1, 255, targets).astype(np.uint8)


def test_the_class_of_a_pixel_has_the_largest_logit(examples):
    logits, _ = examples
    decisions = READER.decide(logits)
    assert decisions.dtype == np.uint8
    assert np.array_equal(decisions, torch.from_numpy(logits).argmax(1).numpy())


def test_colours_are_those_of_the_facts_or_distinct():
    assert READER.palette == [(0, 0, 0), (255, 0, 128), (0, 255, 0)]
    without = load_reader({"labels": LABELS, "task": {"name": "segmentation"}})
    assert len(set(without.palette)) == 3


def test_measures_are_scikit_learns_of_all_pixels(examples):
    logits, targets = examples
    is_counted, values = targets != 255, values_of(READER, logits, targets)
    actual, predicted = targets[is_counted], READER.decide(logits)[is_counted]
    assert values[READER.headline] == pytest.approx(jaccard_score(actual, predicted, average="macro"))
    assert values["mean_dice"] == pytest.approx(f1_score(actual, predicted, average="macro"))
    assert values["pixel_accuracy"] == pytest.approx(accuracy_score(actual, predicted))
    ious = jaccard_score(actual, predicted, average=None)
    assert [values[f"iou/{label}"] for label in LABELS] == pytest.approx(ious.tolist())


def test_measures_are_torchmetrics_without_ignored_pixels(examples):
    logits, _ = examples
    predicted, actual = READER.decide(logits), READER.decide(logits[::-1])
    one_hot = [torch.nn.functional.one_hot(torch.from_numpy(each.astype(np.int64)), 3) for each in (predicted, actual)]
    dice = DiceScore(3, average="macro", aggregation_level="global")
    dice.update(*(each.permute(0, 3, 1, 2) for each in one_hot))
    assert values_of(READER, logits, actual)["mean_dice"] == pytest.approx(float(dice.compute()))


def test_errors_are_one_minus_torchmetrics_iou_of_each_image(examples):
    logits, _ = examples
    actual = READER.decide(logits[::-1])
    expected = []
    for logit, target in zip(logits, actual, strict=True):
        score = MeanIoU(3, input_format="index")
        score.update(torch.from_numpy(logit.argmax(0))[None], torch.from_numpy(target.astype(np.int64))[None])
        expected.append(1 - float(score.compute()))
    assert READER.errors(logits, actual) == pytest.approx(expected)


def test_errors_leave_out_ignored_pixels_and_absent_classes_and_are_unknown_without_a_label():
    targets = np.array([[[0, 1, 255, 255]], [[0, 0, 0, 0]], [[255, 255, 255, 255]]], np.uint8)
    predicted = np.array([[[0, 1, 2, 1]], [[0, 0, 0, 1]], [[0, 1, 2, 0]]], np.uint8)
    expected = [0, 1 - (0.75 + 0) / 2, np.nan]
    assert np.array_equal(READER.errors(logits_of(predicted), targets), expected, equal_nan=True)


def test_measures_of_parts_are_those_of_the_whole(examples):
    logits, targets = examples
    parts = [READER.measures(logits[part], targets[part]) for part in (slice(0, 7), slice(7, 20))]
    for whole, first, second in zip(READER.measures(logits, targets), *parts, strict=True):
        assert np.array_equal(whole.statistics, np.concatenate([first.statistics, second.statistics]))


def test_boundary_f1_is_that_of_distance_transforms(examples):
    """Of 9 x 11 pixels, 0.75% of the diagonal are less than one."""
    predicted, actual = READER.decide(examples[0]), READER.decide(examples[0][::-1])
    values, expected = values_of(READER, examples[0], actual), []
    for index, label in enumerate(LABELS):
        outlines = [[mask & binary_dilation(~mask) for mask in masks == index] for masks in (predicted, actual)]
        matched = [
            np.concatenate([distance_transform_edt(~other)[own] <= 1 for own, other in zip(*pair, strict=True)])
            for pair in (outlines, outlines[::-1])
        ]
        precision, recall = (each.mean() for each in matched)
        expected.append(2 * precision * recall / (precision + recall))
        assert values[f"boundary_f1/{label}"] == pytest.approx(expected[-1])
    assert values["mean_boundary_f1"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("shape", "square", "distance"), [((20, 20), slice(5, 12), 1), ((60, 800), slice(9, 49), 6)])
def test_outlines_may_be_off_by_a_pixel_or_by_a_fraction_of_the_diagonal(shape, square, distance):
    targets = np.zeros((1, *shape), np.uint8)
    targets[0, square, square] = 1
    values = [values_of(READER, logits_of(np.roll(targets, shift, 1)), targets) for shift in (distance, distance + 1)]
    assert values[0]["boundary_f1/cat"] == 1
    assert values[1]["boundary_f1/cat"] < 0.9


def test_models_agree_in_the_fraction_of_equal_pixels():
    masks = np.array([[[0, 1, 2, 2]], [[0, 0, 0, 0]]], np.uint8)
    others = np.array([[[0, 1, 2, 0]], [[0, 0, 0, 0]]], np.uint8)
    assert READER.agreement(logits_of(masks), logits_of(others)).tolist() == [0.75, 1]


def test_rows_hold_the_share_of_each_class():
    masks = np.array([[[0, 1, 2, 2]]], np.uint8)
    (row,) = READER.rows(logits_of(masks), 1)
    assert row == {"share_ground": "0.250000", "share_cat": "0.250000", "share_dog": "0.500000"}
    assert list(row) == READER.columns(1)
    (target_row,) = READER.target_rows(np.array([[[0, 1, 255, 0]]], np.uint8))
    assert target_row == {"true_share_ground": "0.500000", "true_share_cat": "0.250000", "true_share_dog": "0.000000"}


def test_the_most_frequent_class_but_the_first_is_explained():
    masks = np.array([[[0, 0, 0, 2]], [[1, 1, 2, 0]], [[0, 0, 0, 0]]], np.uint8)
    assert READER.explained_labels(logits_of(masks)) == [[2], [1], [0]]


@pytest.mark.parametrize(
    "facts",
    [{"palette": ["red"] * 3}, {"palette": [1, 2, 3]}, {"palette": "abc"}, {"palette": ["#000000"]}, {"unknown": 1}],
)
def test_invalid_facts_are_an_error(facts):
    with pytest.raises(UserError, match="expected a valid description of the task segmentation"):
        load_reader({"labels": LABELS, "task": {"name": "segmentation", **facts}})
