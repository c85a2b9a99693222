"""Ordinal sample: the grade of an image is the number of digits in it."""

from collections import Counter

import numpy as np
import pytest

from leyden.stages.sample.ordinal import NOISE
from tests.stages.sample.files import pngs_in, read_csv, read_pngs

ORDER = ["none", "one", "two", "three", "four"]


@pytest.fixture(scope="module")
def folder(sample_of):
    return sample_of("ordinal")


@pytest.fixture(scope="module")
def rows(folder):
    return read_csv(folder / "manifest.csv")


def test_manifest_names_every_image(folder, rows):
    assert [row["path"] for row in rows] == pngs_in(folder)


def test_order_is_in_a_file_of_its_own(folder):
    assert read_csv(folder / "grades.csv") == [{"grade": grade} for grade in ORDER]


def test_grades_are_balanced(rows):
    assert Counter(row["grade"] for row in rows) == dict.fromkeys(ORDER, 179)


def test_each_grade_has_the_ink_of_one_digit_more(folder, rows):
    images = read_pngs(folder, [row["path"] for row in rows])
    assert images.shape == (895, 20, 20)
    inked = (images >= NOISE).sum((1, 2))
    grades = np.array([row["grade"] for row in rows])
    means = [inked[grades == grade].mean() for grade in ORDER]
    assert means[0] == 0
    assert np.allclose(np.diff(means), means[1], rtol=0.15)  # a little less each time: digits overlap
    assert inked[grades == "four"].min() > inked[grades == "one"].max()
