"""Multi-label sample: the labels of an image are the digits in it."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from leyden.stages.sample.digits import read_digits
from leyden.stages.sample.multilabel import NOISE
from tests.stages.sample.files import pngs_in, read_csv, read_pngs


@pytest.fixture(scope="module")
def folder(sample_of):
    return sample_of("multilabel")


@pytest.fixture(scope="module")
def rows(folder):
    return read_csv(folder / "manifest.csv")


@pytest.fixture(scope="module")
def label_sets(rows):
    return [row["labels"].split(";") if row["labels"] else [] for row in rows]


def ink(image: np.ndarray) -> bytes:
    return np.where(image >= NOISE, image, 0).tobytes()


def test_manifest_names_every_image(folder, rows):
    assert [list(row) for row in rows[:1]] == [["path", "labels"]]
    assert [row["path"] for row in rows] == pngs_in(folder)


def test_labels_are_the_digits_of_the_quarters(folder, rows, label_sets):
    digits = read_digits()
    label_of = {ink(image): str(label) for image, label in zip(*digits, strict=True)}
    blank = ink(np.zeros((8, 8), np.uint8))
    shown: Counter[bytes] = Counter()
    for image, labels in zip(read_pngs(folder, [row["path"] for row in rows]), label_sets, strict=True):
        quarters = [ink(image[top : top + 8, left : left + 8]) for top in (0, 8) for left in (0, 8)]
        quarters = [quarter for quarter in quarters if quarter != blank]
        assert sorted({label_of[quarter] for quarter in quarters}) == labels
        shown.update(quarters)
    assert shown.total() == 299 * (1 + 2 + 3)
    assert max(shown.values()) == 1  # no handwritten digit is in two images


def test_each_label_has_enough_positives(label_sets):
    counts = Counter(label for labels in label_sets for label in labels)
    assert set(counts) == set("0123456789")
    assert 150 <= min(counts.values()) <= max(counts.values()) <= 200


def test_a_quarter_of_the_images_have_no_label(label_sets):
    assert sum(not labels for labels in label_sets) == 299


def test_every_pair_of_labels_occurs_but_none_always(label_sets):
    counts = Counter(label for labels in label_sets for label in labels)
    pairs = Counter(pair for labels in label_sets for pair in combinations(labels, 2))
    assert len(pairs) == 45
    assert all(pairs[pair] < 0.3 * min(counts[label] for label in pair) for pair in pairs)
