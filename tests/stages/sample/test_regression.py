"""Regression sample: the target is the angle by which the digit is turned."""

import re

import numpy as np
import pytest
from PIL import Image

from leyden.stages.sample.digits import read_digits
from leyden.stages.sample.regression import NOISE, SHOWN, turned
from tests.stages.sample.files import pngs_in, read_csv, read_pngs


@pytest.fixture(scope="module")
def folder(sample_of):
    return sample_of("regression")


@pytest.fixture(scope="module")
def rows(folder):
    return read_csv(folder / "manifest.csv")


@pytest.fixture(scope="module")
def two():
    digits = read_digits()
    return digits.images[digits.labels == 2][0]


def test_manifest_names_every_image(folder, rows):
    assert [row["path"] for row in rows] == pngs_in(folder)


def test_angles_are_uniform_with_one_decimal(rows):
    assert all(re.fullmatch(r"-?\d+\.\d", row["target_angle_deg"]) for row in rows)
    angles = np.array([float(row["target_angle_deg"]) for row in rows])
    counts, _ = np.histogram(angles, bins=6, range=(-60, 60))
    assert counts.sum() == len(angles)
    assert counts.min() > 120


def test_each_image_is_a_digit_turned_by_its_angle(folder, rows):
    digits = read_digits()
    images = read_pngs(folder, [row["path"] for row in rows])
    sources = digits.images[np.isin(digits.labels, SHOWN)]
    for image, row, source in zip(images, rows, sources, strict=True):
        expected = turned(source, round(10 * float(row["target_angle_deg"])))
        assert np.array_equal(np.where(image >= NOISE, image, 0), np.where(expected >= NOISE, expected, 0))


def test_90_degrees_anticlockwise(two):
    assert np.abs(turned(two, 900).astype(int) - np.rot90(turned(two, 0))).max() <= 2


@pytest.mark.parametrize("angle_deg", [-60, -25, 10, 45])
def test_turns_like_pillow(two, angle_deg):
    upright = Image.fromarray(turned(two, 0))
    expected = np.asarray(upright.rotate(angle_deg, Image.Resampling.BILINEAR)).astype(int)
    wrong = np.asarray(upright.rotate(angle_deg + 5, Image.Resampling.BILINEAR)).astype(int)
    difference = np.abs(turned(two, 10 * angle_deg) - expected).mean()
    assert difference < 6
    assert difference < np.abs(turned(two, 10 * angle_deg) - wrong).mean()


def test_a_turned_digit_stays_within_the_image(folder, rows):
    images = read_pngs(folder, [row["path"] for row in rows])
    assert images.shape == (902, 16, 16)
    border = np.ones((16, 16), bool)
    border[1:-1, 1:-1] = False
    assert (images[:, border] >= NOISE).mean() < 0.01
